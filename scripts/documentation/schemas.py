"""schemas.py: the checks of scripts/check-deploy. Prints what was checked, and ends with 1 if something is wrong."""

import re, sys

import yaml
from compose_spec import PyCompose
from helm_python import chart as helm
from kubernetes_validate.utils import all_versions, latest_version, validate

import examples
from pages import REPOSITORY

DEPLOY = REPOSITORY / "docs/deploy"
CHART = DEPLOY / "chart/aftercast"
VERSION = re.search(r'(?m)^version = "(.*)"', (REPOSITORY / "Cargo.toml").read_text())[1]
KUBERNETES = [all_versions()[0], latest_version()]
# Values that turn every condition of the templates on and off.
NODES, CLAIM = {"hostPath": "/srv/recordings"}, {"existingClaim": "recordings"}
REST = {"targetUrl": "s3://bucket/prefix", "credentialsSecret": "aftercast-credentials", "apiSecret": "aftercast-api",
        "env": {"AFTERCAST_WATCH__QUIET": "60s"}, "nodeSelector": {"ingest": "yes"}, "tolerations": [{"operator": "Exists"}]}
VALUES = [NODES, CLAIM, NODES | REST, CLAIM | REST]
REFUSED = [{}, NODES | CLAIM]


def resources(where, text):
    """Checks the resources of a text; what they are."""
    kinds = []
    for resource in filter(None, yaml.safe_load_all(text)):
        for version in KUBERNETES:
            validate(resource, version, strict=True)
        list(examples.kubernetes(where, VERSION, resource))
        kinds.append(resource["kind"])
    assert kinds, f"{where}: no resource"
    return kinds


def compose_files():
    for path in sorted((DEPLOY / "compose").glob("*.yml")):
        # Merge keys are done first, as Compose does.
        services = PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(path.read_text()))).service_names()
        yield f"{path.relative_to(DEPLOY)}: {', '.join(services)}"


def kubernetes_files():
    for path in sorted((DEPLOY / "kubernetes").glob("*.yml")):
        yield f"{path.relative_to(DEPLOY)}: {', '.join(resources(path.name, path.read_text()))}"


def helm_chart():
    with helm.Chart.load(CHART) as chart:
        for values in VALUES:
            report = helm.lint(CHART, values=values, strict=True)
            found = report["errors"] + [said["error"] for said in report["messages"] if said["severity"] > 1]
            assert not found, f"lint: {found}"
            rendered = chart.render(values=values, name="aftercast")
            manifests = "\n---\n".join(text for name, text in sorted(rendered.items()) if name.endswith(".yaml"))
            yield f"chart/aftercast with {', '.join(values)}: {', '.join(resources('chart', manifests))}"
        for values in REFUSED:
            try:
                chart.render(values=values, name="aftercast")
            except Exception as error:
                assert "hostPath" in str(error), error
            else:
                raise AssertionError(f"the chart takes {values}")
        yield "chart/aftercast refuses both hostPath and existingClaim, and neither"


def main():
    is_well = True
    for check in (compose_files, kubernetes_files, helm_chart):
        try:
            for line in check():
                print(line)
        except Exception as error:
            is_well = False
            print(f"{check.__name__}: {type(error).__name__}: {getattr(error, 'message', error)}", file=sys.stderr)
    print(f"Kubernetes {' and '.join(KUBERNETES)}")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
