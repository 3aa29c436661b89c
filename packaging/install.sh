#!/bin/sh
# install.sh ARCHIVE [PREFIX]: installs aftercast from its archive (aftercast-VERSION-linux-ARCHITECTURE.tar.gz) to PREFIX (default
# /opt/aftercast), after its checksum was found in SHA256SUMS beside it. Nothing is downloaded. An installation that is there is
# replaced as a whole; configuration and state are elsewhere and stay. Remove with: rm -r PREFIX /usr/local/bin/aftercast
set -eu

say() { echo "install.sh: $*" >&2; }
[ $# -ge 1 ] || { say "usage: install.sh ARCHIVE [PREFIX]"; exit 2; }
archive=$1
prefix=${2:-/opt/aftercast}
name=${archive##*/}
case $archive in */*) directory=${archive%/*} ;; *) directory=. ;; esac

[ -f "$archive" ] || { say "$archive is not a file"; exit 1; }
[ -f "$directory/SHA256SUMS" ] || { say "SHA256SUMS is missing beside $name; nothing was installed"; exit 1; }
expected=$(awk -v name="$name" '$2 == name || $2 == "*" name { print $1 }' "$directory/SHA256SUMS")
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

# Unpacked aside, tried, and only then put in place of what is there.
umask 022
mkdir -p "$(dirname "$prefix")"
new=$prefix.new-$$
trap 'rm -rf "$new"' EXIT
mkdir "$new"
tar -xf "$archive" -C "$new" --strip-components=1 --no-same-owner
"$new/bin/aftercast" --version >/dev/null || { say "the program does not run on this system; nothing was installed"; exit 1; }
if [ -e "$prefix" ]; then
    [ -x "$prefix/bin/aftercast" ] || { say "$prefix exists and is not an installation of aftercast"; exit 1; }
    mv "$prefix" "$prefix.old-$$"
fi
mv "$new" "$prefix"
rm -rf "$prefix.old-$$"
if [ "$(id -u)" -eq 0 ] && [ "$prefix" = /opt/aftercast ]; then
    mkdir -p /usr/local/bin
    ln -sfn "$prefix/bin/aftercast" /usr/local/bin/aftercast
fi
cat <<TEXT
$("$prefix/bin/aftercast" --version) is installed in $prefix. Next:
  1. Copy $prefix/share/config.toml to /etc/aftercast/config.toml and set \`roots\`.
  2. aftercast config check && aftercast doctor
  3. Follow the first lines of $prefix/share/aftercast.service, a unit for systemd.
TEXT
