#!/usr/bin/env python3
"""oci.py ROOT OUT NAME CONFIG: packs a directory as an OCI image (OCI image format 1.1) with one layer, into a tar archive.

The archive depends on the files and SOURCE_DATE_EPOCH alone: names are sorted, owners come from the table in CONFIG, times are
the same, and the compression carries no time. Docker 25, podman, skopeo and containerd load it.
"""
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import time

root, out, name, config_file = sys.argv[1:]
epoch = int(os.environ["SOURCE_DATE_EPOCH"])
created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
with open(config_file, encoding="utf-8") as file:
    settings = json.load(file)


def entry(path, name):
    """What the layer says of a file: nothing of the machine that built it."""
    info = tarfile.TarInfo(name)
    stat = os.lstat(path)
    info.mtime, info.mode = epoch, stat.st_mode & 0o7777
    info.uid = info.gid = settings["owners"].get("/" + name, 0)
    if os.path.islink(path):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif os.path.isdir(path):
        info.type = tarfile.DIRTYPE
    else:
        info.size = stat.st_size
    return info


def layer():
    """The layer, uncompressed."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for directory, below, files in os.walk(root):
            below.sort()
            links = [b for b in below if os.path.islink(os.path.join(directory, b))]
            for file in sorted(files + links):
                path = os.path.join(directory, file)
                info = entry(path, os.path.relpath(path, root))
                if info.isreg():
                    with open(path, "rb") as content:
                        tar.addfile(info, content)
                else:
                    tar.addfile(info)
            for child in below:
                path = os.path.join(directory, child)
                if child not in links:
                    tar.addfile(entry(path, os.path.relpath(path, root)))
    return data.getvalue()


blobs = {}


def blob(data, media_type):
    """Keeps a blob and describes it."""
    digest = hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def as_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


plain = layer()
packed = blob(gzip.compress(plain, 9, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
config = {
    "architecture": settings["architecture"],
    "os": "linux",
    "created": created,
    "config": settings["config"],
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(plain).hexdigest()]},
    "history": [{"created": created, "created_by": "scripts/image"}],
}
manifest = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": blob(as_json(config), "application/vnd.oci.image.config.v1+json"),
    "layers": [packed],
    "annotations": settings["config"]["Labels"],
}
described = blob(as_json(manifest), "application/vnd.oci.image.manifest.v1+json")
described["annotations"] = {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name}
index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [described]}

with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as archive:
    files = {"blobs/sha256/" + digest: data for digest, data in blobs.items()}
    files |= {"index.json": as_json(index), "oci-layout": as_json({"imageLayoutVersion": "1.0.0"})}
    for path in sorted(files):
        info = tarfile.TarInfo(path)
        info.size, info.mtime, info.mode = len(files[path]), epoch, 0o644
        archive.addfile(info, io.BytesIO(files[path]))
print(f"{out}: {described['digest']}, layer {packed['size'] / 1e6:.1f} MB compressed, {len(plain) / 1e6:.1f} MB unpacked")
