"""An S3 server that refuses by IAM policies, over http and over https with good and bad certificates, and services that give
tokens: AWS's for a web identity, Google's accounts behind a proxy.

Listens on free ports of 127.0.0.1, prints one line of JSON saying where and with which keys, and ends with its standard input.
Usage: moto_server.py DIRECTORY (for the certificates)
"""

import datetime
import ipaddress
import json
import logging
import pathlib
import ssl
import socketserver
import sys
import threading
import urllib.parse

import boto3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from moto import settings
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "denials"
ACTIONS = ["PutObject", "GetObject", "DeleteObject", "AbortMultipartUpload", "ListBucket", "ListBucketMultipartUploads"]
NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)
TOKEN = "header.web-identity-of-a-pod.signature"
ACCOUNTS = {"client_secret": "secret-of-the-client", "refresh_token": "1//refresh-of-a-person", "access_token": "ya29.given"}


def certificate(directory, name, subject, signer=None, ends=NOW + 30 * DAY, is_ca=False):
    """Writes a certificate for an address or name; signed by itself unless there is a signer."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signing_key = signer or (own, key)
    builder = (x509.CertificateBuilder().subject_name(own).issuer_name(issuer).public_key(key.public_key())
               .serial_number(x509.random_serial_number()).not_valid_before(NOW - 60 * DAY).not_valid_after(ends)
               .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True))
    if subject:
        builder = builder.add_extension(x509.SubjectAlternativeName([subject]), critical=False)
    made = builder.sign(signing_key, hashes.SHA256())
    path = pathlib.Path(directory) / f"{name}.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + (b"" if is_ca else private))
    return path, (own, key)


def serve(app, path=None):
    context = None
    if path:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=context)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def make_users(port):
    """A user for each action that is denied to them alone, and one who may do everything."""
    known = dict(endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                 aws_access_key_id="setup", aws_secret_access_key="setup")
    iam = boto3.client("iam", **known)
    boto3.client("s3", **known).create_bucket(Bucket=BUCKET)
    keys = {}
    for action in ["nothing", *ACTIONS]:
        statements = [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]
        if action in ACTIONS:
            statements.append({"Effect": "Deny", "Action": f"s3:{action}", "Resource": "*"})
        iam.create_user(UserName=action)
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=action, PolicyName="p", PolicyDocument=policy)
        made = iam.create_access_key(UserName=action)["AccessKey"]
        keys[action] = [made["AccessKeyId"], made["SecretAccessKey"]]
    return keys


def make_session(port):
    """Keys of a role that may do everything; the store lets them in together with their session's token alone."""
    known = dict(endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                 aws_access_key_id="setup", aws_secret_access_key="setup")
    iam = boto3.client("iam", **known)
    trust = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": "pods"}}]})
    role = iam.create_role(RoleName="recorder", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_role_policy(RoleName="recorder", PolicyName="p", PolicyDocument=json.dumps(policy))
    return boto3.client("sts", **known).assume_role(RoleArn=role, RoleSessionName="pod")["Credentials"]


def token_service(session):
    """Gives a session's keys to whoever shows the token."""
    fields = {**session, "Expiration": session["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ")}
    fields = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    given = "AssumeRoleWithWebIdentity"
    given = f"<{given}Response><{given}Result><Credentials>{fields}</Credentials></{given}Result></{given}Response>"

    def answer(environ, start):
        asked = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
        is_known = asked.get("WebIdentityToken") == TOKEN and asked.get("RoleArn", "").endswith("role/recorder")
        body = given if is_known else "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>"
        start("200 OK" if is_known else "400 Bad Request", [("Content-Type", "text/xml")])
        return [body.encode()]

    return answer


def accounts(path):
    """A proxy that lets through to accounts.google.com alone, which it is itself; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)

    def head(stream):
        lines = []
        while (line := stream.readline().decode().strip()):
            lines.append(line)
        return lines

    class Proxy(socketserver.BaseRequestHandler):
        def handle(self):
            asked = head(self.request.makefile("rb", 0))
            if not asked or not asked[0].startswith("CONNECT accounts.google.com:443 "):
                self.request.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                return
            self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            with context.wrap_socket(self.request, server_side=True) as secure, secure.makefile("rb") as stream:
                while (lines := head(stream)):
                    fields = dict(line.lower().split(": ", 1) for line in lines[1:])
                    form = dict(urllib.parse.parse_qsl(stream.read(int(fields.get("content-length", 0))).decode()))
                    is_known = all(form.get(name) == ACCOUNTS[name] for name in ["client_secret", "refresh_token"])
                    status, body = "200 OK", {"access_token": ACCOUNTS["access_token"], "expires_in": 3599}
                    if not is_known or form.get("grant_type") != "refresh_token":
                        said = "Token has been expired or revoked."
                        status, body = "400 Bad Request", {"error": "invalid_grant", "error_description": said}
                    body = json.dumps(body, indent=2).encode()
                    answer = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                    secure.sendall(answer.encode() + body)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    directory = sys.argv[1]
    app = DomainDispatcherApplication(create_backend_app)
    port = serve(app)
    keys, session = make_users(port), make_session(port)
    # From here on signatures and policies hold.
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    ca_path, ca = certificate(directory, "ca", None, is_ca=True)
    tls = {
        "good": certificate(directory, "good", here, ca),
        "other name": certificate(directory, "other-name", x509.DNSName("store.example.org"), ca),
        "expired": certificate(directory, "expired", here, ca, ends=NOW - DAY),
        "unknown": certificate(directory, "unknown", here),
    }
    ports = {name: serve(app, path) for name, (path, _) in tls.items()}
    secrets = [TOKEN, session["SecretAccessKey"], session["SessionToken"]]
    sts = {"port": serve(token_service(session), tls["good"][0]), "token": TOKEN, "secrets": secrets}
    google, _ = certificate(directory, "accounts", x509.DNSName("accounts.google.com"), ca)
    said = {"http": port, "keys": keys, "tls": ports, "sts": sts, "ca": str(ca_path), "bucket": BUCKET}
    print(json.dumps({**said, "accounts": {**ACCOUNTS, "port": accounts(google)}}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
