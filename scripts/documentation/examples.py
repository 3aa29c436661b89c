"""examples.py VERSION FILE…: checks the examples for containers (docs/deploy): each container of aftercast has the image of this version, a user, no
capabilities, a read-only root and its volumes; what it listens on needs a token, and is published on this machine alone. Prints a line of
JSON for each: its file and its environment. Needs PyYAML."""

import json, sys
from pathlib import Path

import yaml


def check(where, version, container):
    """What holds in Compose as in Kubernetes. Returns what the program itself is asked about."""
    environment, mounts = container["environment"], container["mounts"]
    assert container["image"] == f"aftercast:{version}", (where, container["image"])
    assert container["is_read_only"] and container["drops"] == ["ALL"] and container["has_user"], where
    needed = {"/var/lib/aftercast"} | ({"/recordings"} if container["arguments"][:1] != ["work"] else set())
    assert needed <= set(mounts), (where, mounts)
    is_secret = lambda name: any(environment[name].startswith(mount + "/") for mount in mounts)
    for name in environment:
        if name.endswith("_FILE"):
            assert is_secret(name), f"{where}: {name} is not in a mounted secret"
    listens = environment.get("AFTERCAST_SERVE__LISTEN", "127.0.0.1:8420")
    if not listens.startswith("127."):
        assert "AFTERCAST_SERVE__OPERATE_TOKEN_FILE" in environment, f"{where}: {listens} needs a token"
        assert container["ports"], f"{where}: {listens} is reached by nobody"
    database = environment.get("AFTERCAST_FLEET__DATABASE")
    assert database is None or "sslmode=" in database, f"{where}: whether TLS is used is not named"
    return {"file": str(where), "environment": environment}


def compose(file, version, document):
    for name, service in document.get("services", {}).items():
        if not service["image"].startswith("aftercast"):
            continue
        secrets = service.get("secrets", [])
        assert set(secrets) <= set(document["secrets"]), f"{file}: {secrets}"
        mounts = [volume.split(":")[1] for volume in service["volumes"]] + ["/run/secrets"] * bool(secrets)
        ports, environment = service.get("ports", []), service["environment"]
        assert all(port.startswith("127.0.0.1:") for port in ports), f"{file}: {ports}"
        address = environment.get("AFTERCAST_FLEET__API_URL")
        assert address is None or address.removeprefix("http://") in ports[0], f"{file}: {address} is not published"
        yield check(f"{file}: {name}", version, {
            "image": service["image"], "is_read_only": service["read_only"], "drops": service["cap_drop"], "has_user": "user" in service,
            "mounts": mounts, "environment": environment, "ports": ports, "arguments": service.get("command", [])})
        shared = service.get("pid", "").removeprefix("service:")
        assert not shared or shared in document["services"] and service["depends_on"][shared]["restart"], file


def kubernetes(file, version, document):
    pod = document.get("spec", {}).get("template", {}).get("spec", {})
    for container in pod.get("containers", []):
        if container["name"] != "aftercast":
            continue
        rights, mounts = container["securityContext"], container["volumeMounts"]
        yield check(file, version, {
            "image": container["image"], "is_read_only": rights["readOnlyRootFilesystem"], "drops": rights["capabilities"]["drop"],
            "has_user": "runAsUser" in rights, "mounts": [mount["mountPath"] for mount in mounts],
            "environment": {one["name"]: one["value"] for one in container["env"]}, "ports": container.get("ports", []),
            "arguments": container.get("args", [])})
        assert {mount["name"] for mount in mounts} <= {volume["name"] for volume in pod["volumes"]}, file


def main():
    version, files = sys.argv[1], sys.argv[2:]
    for file in files:
        for document in yaml.safe_load_all(Path(file).read_text()):
            for found in [*compose(file, version, document), *kubernetes(file, version, document)]:
                print(json.dumps(found))


if __name__ == "__main__":
    main()
