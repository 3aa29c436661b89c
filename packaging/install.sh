#!/bin/sh
# install.sh ARCHIVE [PREFIX]: installs aftercast from its archive (aftercast-VERSION-linux-ARCHITECTURE.tar.gz) to PREFIX (default
# /opt/aftercast), after its checksum was found in SHA256SUMS beside it. Nothing is downloaded. PREFIX is a directory of its own: one
# that does not exist yet, or an installation of aftercast with nothing else in it, which is replaced as a whole. What is removed of
# it are the files that its list names, PREFIX/share/aftercast/installation. Configuration and state are elsewhere and stay.
set -eu

say() { echo "install.sh: $*" >&2; }
[ $# -ge 1 ] || { say "usage: install.sh ARCHIVE [PREFIX]"; exit 2; }
archive=$1
prefix=${2:-/opt/aftercast}
name=${archive##*/}
case $archive in */*) directory=${archive%/*}/ ;; *) directory=./ ;; esac
# The list of an installation's files, and its first line.
list=share/aftercast/installation
list_head='# Files of an installation of aftercast. install.sh replaces these and nothing else.'

[ -f "$archive" ] || { say "$archive is not a file"; exit 1; }
[ -f "${directory}SHA256SUMS" ] || { say "SHA256SUMS is missing beside $name; nothing was installed"; exit 1; }
expected=$(awk -v name="$name" '$2 == name || $2 == "*" name { print $1 }' "${directory}SHA256SUMS")
[ -n "$expected" ] || { say "SHA256SUMS does not list $name; nothing was installed"; exit 1; }
found=$(sha256sum <"$archive" | cut -d' ' -f1)
if [ "$found" != "$expected" ]; then
    say "checksum mismatch of $name: expected $expected, got $found; nothing was installed. Download it again."
    exit 1
fi
case $name in
    aftercast-*-linux-"$(uname -m)".tar.*) ;;
    *) say "$name is not for this machine ($(uname -m))"; exit 1 ;;
esac
[ "$(id -u)" -eq 0 ] || [ -n "${2:-}" ] || { say "run it as root, or give a PREFIX that you may write"; exit 1; }

# PREFIX without slashes at its end, and absolute.
while :; do case $prefix in */) prefix=${prefix%/} ;; *) break ;; esac; done
case ${prefix##*/} in
    '' | . | ..) say "PREFIX has to end with the name of a directory, such as /opt/aftercast"; exit 2 ;;
esac
case $prefix in /*) ;; *) prefix=${PWD%/}/$prefix ;; esac

# Whether a directory has a list of an installation's files, each below it.
has_list() {
    [ -f "$1/$list" ] && [ ! -h "$1/$list" ] && LC_ALL=C awk -v head="$list_head" '
        NR == 1 { if ($0 != head) bad = 1; next }
        $0 == "" || /^\// || ("/" $0 "/") ~ /\/(\.|\.\.)?\// { bad = 1 }
        END { exit (bad || NR < 2) }' "$1/$list"
}

# What a directory holds that its own list does not name: files, links, and directories of none of its files.
unlisted() {
    (
        cd "$1" || exit 1
        find . ! -name . -type d -print | LC_ALL=C sed 's/^/d/'
        find . ! -type d -print | LC_ALL=C sed 's/^/f/'
    ) | LIST=$1/$list LC_ALL=C awk '
        BEGIN {
            while ((getline line <ENVIRON["LIST"]) > 0) {
                known["f./" line] = 1
                while (sub(/\/[^\/]*$/, "", line)) known["d./" line] = 1
            }
        }
        !($0 in known) { print substr($0, 2) }'
}

refuse() {
    say "$1; nothing was changed."
    say "Only an installation of aftercast with nothing else in it is replaced. What is safe: name a directory that does not exist yet"
    say "  sh install.sh $archive DIRECTORY"
    say "$2"
    exit 1
}

if [ -e "$prefix" ] || [ -h "$prefix" ]; then
    has_list "$prefix" || refuse "$prefix exists and is not an installation of aftercast ($list is missing or is not its list)" \
        "or, if it holds aftercast alone, move it away first: mv $prefix $prefix.before"
    [ ! -h "$prefix" ] || refuse "$prefix is a symbolic link" "or the directory that it stands for."
fi

# Unpacked aside, tried, and only then put in place of what is there. However this ends, there is the new one or the old one.
umask 022
mkdir -p "$(dirname "$prefix")"
new=$prefix.new-$$ old=$prefix.old-$$ is_aside=
if [ -e "$old" ] || [ -h "$old" ]; then say "$old is in the way; nothing was changed"; exit 1; fi
restore() {
    if [ -n "$is_aside" ] && [ -d "$old" ] && [ ! -e "$prefix" ]; then
        if mv "$old" "$prefix"; then say "the installation that was there is in place again"; else say "it is in $old now"; fi
    fi
    rm -rf "$new"
}
mkdir "$new"
trap restore EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
case $archive in /*) from=$archive ;; *) from=${PWD%/}/$archive ;; esac
(cd "$new" && tar -xf "$from" --strip-components=1 --no-same-owner)
has_list "$new" || { say "$name has no list of its files ($list); nothing was installed"; exit 1; }
more=$(unlisted "$new")
[ -z "$more" ] || { say "$name holds more than its list names; nothing was installed: $more"; exit 1; }
"$new/bin/aftercast" --version >/dev/null || { say "the program does not run on this system; nothing was installed"; exit 1; }
if [ -e "$prefix" ]; then
    # At the top first: whoever unpacked an archive into /usr/local reads what else is there, not a hundred thousand names.
    more=
    for entry in "$prefix"/* "$prefix"/.[!.]* "$prefix"/..?*; do
        [ -e "$entry" ] || [ -h "$entry" ] || continue
        [ -e "$new/${entry##*/}" ] || more="$more ${entry##*/}"
    done
    [ -n "$more" ] || more=" $(unlisted "$prefix" | head -n 5 | tr '\n' ' ')"
    [ -z "${more# }" ] || refuse "$prefix holds what is not aftercast's:$more" "or move these away first."
    is_aside=yes
    mv "$prefix" "$old"
fi
if [ -e "$prefix" ] || [ -h "$prefix" ]; then say "$prefix was made meanwhile; nothing was installed"; exit 1; fi
mv "$new" "$prefix"

# Of the old one, the files of its list, then the directories that are empty.
if [ -n "$is_aside" ]; then
    while IFS= read -r file; do
        case $file in '#'*) ;; *) rm -f -- "$old/$file" || : ;; esac
    done <"$old/$list"
    find "$old" -depth -type d -exec rmdir {} \; 2>/dev/null || :
    [ ! -e "$old" ] || say "$old is kept: it holds files that are not of the installation"
fi
if [ "$(id -u)" -eq 0 ] && [ "$prefix" = /opt/aftercast ]; then
    link=/usr/local/bin/aftercast
    mkdir -p "${link%/*}"
    if [ -e "$link" ] && [ ! -h "$link" ]; then
        say "$link is not a link and is kept; to use what was installed: ln -sf $prefix/bin/aftercast $link"
    else
        ln -sfn "$prefix/bin/aftercast" "$link"
    fi
fi
cat <<TEXT
$("$prefix/bin/aftercast" --version) is installed in $prefix. Next:
  1. Copy $prefix/share/config.toml to /etc/aftercast/config.toml and set \`roots\`.
  2. aftercast config check && aftercast doctor
  3. Follow the first lines of $prefix/share/aftercast.service, a unit for systemd.
TEXT
