"""Whether a command prints what a page shows. Times, durations, sizes, ids, digests and addresses may differ."""

import re

# What may differ between two runs, and what stands for it.
DIFFERS = [(re.compile(pattern), word) for pattern, word in [
    (r"\x1b\[[0-9;]*m", ""),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?( ?(Z|UTC|[+-]\d\d(:?\d\d)?))?", "<time>"),
    (r"\b[0-9A-Za-z]{24}\b", "<id>"),
    (r"msg_[0-9a-f]+", "<id>"),
    (r"(crc64nvme|sha256|md5|blake3|crc32c)([:=]\"?)[0-9A-Za-z+/=]+", r"\1\2<digest>"),
    (r"\b(?=[0-9a-f-]*[0-9])[0-9a-f]{8,}(-[0-9a-f]{4,})*\b", "<digest>"),
    (r"0x[0-9a-f]+", "<address>"),
    (r"\b\d[\d,.]* ?(B|bytes?|[kKMGT]i?B)\b", "<size>"),
    (r"\b\d[\d,.]* ?([kKMGT]i?B|[kM]bit)/s", "<rate>"),
    (r"\b\d+(\.\d+)? ?(ns|µs|us|ms|s|min|m|h|d)\b( \d+ ?(ms|s|min|m|h)\b)*", "<duration>"),
    (r"\b\d+:\d\d(:\d\d)?(\.\d+)?\b", "<duration>"),
    (r"\b\d+(\.\d+)? ?%", "<percent>"),
    (r"=\d+(\.\d+)?\b", "=<n>"),
    (r"\b\d{4,}(\.\d+)?\b", "<n>"),
    (r"(?<=: )\d{3,}(\.\d+)?\b", "<n>"),
    (r"(PID|pid|process) \d+", r"\1 <n>"),
    (r"\b\d+(?= (packets?|samples?|frames?|pictures?|h264|aac|entries|requests?)\b)", "<n>"),
    (r"\b\d+\.\d+\b", "<n>"),
    (r"[─━═-]{3,}", "---"),
    (r"\s+", " "),
]]


def comparable(line):
    for pattern, word in DIFFERS:
        line = pattern.sub(word, line)
    return line.strip()


def matches(expected, printed):
    """Whether a printed line is the expected one, whose `…` stands for any text."""
    parts = [re.escape(comparable(part)) for part in expected.split("…")]
    return re.fullmatch(r"\s*.*\s*".join(parts), comparable(printed)) is not None


def same(expected, printed):
    """Whether printed lines are the expected ones, a line of `…` standing for any lines."""
    expected, printed = [x for x in expected if x.strip()], [x for x in printed if x.strip()]
    if not expected:
        return not printed
    if expected[0].strip() == "…":
        return any(same(expected[1:], printed[n:]) for n in range(len(printed) + 1))
    return bool(printed) and matches(expected[0], printed[0]) and same(expected[1:], printed[1:])


def appeared(expected, printed):
    """Whether the expected lines are among the printed ones, in this order."""
    rest = iter(printed)
    return all(any(matches(line, row) for row in rest) for line in expected if line.strip() not in ("", "…"))


def any_order(expected, printed):
    return same(sorted(expected, key=comparable), sorted(printed, key=comparable))


def difference(expected, printed):
    return "\n".join([f"    shown:   {row}" for row in expected] + [f"    printed: {row}" for row in printed])
