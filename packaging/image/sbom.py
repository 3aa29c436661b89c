#!/usr/bin/env python3
"""sbom.py VERSION STATUS_DIR FFMPEG_README: prints the bill of materials of the image (CycloneDX 1.5, JSON).

Crates that are compiled in (cargo tree on standard input, as `NAME vVERSION[ (…)]|LICENCE` lines), Debian packages in the image
(control files in STATUS_DIR) and what lib/aftercast was built from. It depends on the arguments and SOURCE_DATE_EPOCH alone.
"""
import json
import os
import re
import sys
import time
import uuid
from email.parser import Parser
from pathlib import Path

version, status, ffmpeg = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
components = {}


def add(purl, **fields):
    components[purl] = {"type": "library", "bom-ref": purl, "purl": purl, **fields}


for line in sys.stdin:
    crate, _, licence = line.rstrip("\n").partition("|")
    name, number = crate.split()[:2]
    number = number.removeprefix("v")
    if name != "aftercast":
        # Licences with `/` are the older form of `OR`.
        licences = [{"expression": licence.replace("/", " OR ")}] if licence else []
        add(f"pkg:cargo/{name}@{number}", name=name, version=number, licenses=licences)
for file in sorted(status.iterdir()):
    if file.suffix == ".md5sums":
        continue
    control = Parser().parsestr(file.read_text(encoding="utf-8"))
    name, number = control["Package"], control["Version"]
    add(f"pkg:deb/debian/{name}@{number}?arch={control['Architecture']}", name=name, version=number)
for name, number in re.findall(r"^  (\S+) (\S+)$", ffmpeg.read_text(encoding="utf-8"), re.M):
    licences = {"ffmpeg": "LGPL-2.1-or-later", "zlib": "Zlib"}
    add(f"pkg:deb/debian/{name}@{number}?arch=source", name=name, version=number, licenses=[{"expression": licences[name]}])

epoch = int(os.environ["SOURCE_DATE_EPOCH"])
listed = [components[purl] for purl in sorted(components)]
json.dump(
    {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_URL, version + json.dumps(listed))),
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)),
            "component": {"type": "application", "bom-ref": "aftercast", "name": "aftercast", "version": version,
                          "licenses": [{"expression": "MIT OR Apache-2.0"}]},
        },
        "components": listed,
        "dependencies": [{"ref": "aftercast", "dependsOn": [c["purl"] for c in listed]}],
    },
    sys.stdout,
    indent=1,
)
print()
