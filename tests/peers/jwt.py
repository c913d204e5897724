"""Signs JSON Web Tokens with openssl. Argument: `directory` for the keys, `algorithm`, `claims`, and `header` (more fields).
`exp_in`: seconds from now. Reports `token`, and `key`: the file to check it with."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time

options = json.loads(sys.argv[1])
directory, algorithm = options["directory"], options["algorithm"]

GENERATE = {
    "RS256": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "ES256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "EdDSA": ["-algorithm", "ED25519"],
}


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


def keys():
    if algorithm.startswith("HS") or algorithm == "none":
        secret = os.path.join(directory, "secret")
        if not os.path.exists(secret):
            with open(secret, "wb") as file:
                file.write(b"a secret of more than thirty-two bytes, for tests")
        return secret, secret
    private, public = (os.path.join(directory, f"{algorithm}.{which}.pem") for which in ("private", "public"))
    if not os.path.exists(private):
        openssl("genpkey", *GENERATE[algorithm], "-out", private)
        openssl("pkey", "-in", private, "-pubout", "-out", public)
    return private, public


def sign(private, message):
    if algorithm == "none":
        return b""
    if algorithm == "HS256":
        with open(private, "rb") as file:
            return hmac.new(file.read(), message, hashlib.sha256).digest()
    text = os.path.join(directory, f"message-{os.getpid()}")
    with open(text, "wb") as file:
        file.write(message)
    if algorithm == "EdDSA":
        return openssl("pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", text)
    signature = openssl("dgst", "-sha256", "-sign", private, text)
    return raw(signature) if algorithm == "ES256" else signature


def raw(der):
    """RFC 7518 section 3.4: both numbers, 32 bytes each."""
    numbers, at = [], 2
    while at < len(der):
        length = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2 : at + 2 + length], "big"))
        at += 2 + length
    return b"".join(number.to_bytes(32, "big") for number in numbers)


claims = dict(options.get("claims", {}))
if "exp_in" in options:
    claims["exp"] = int(time.time()) + options["exp_in"]
private, public = keys()
head = {"alg": algorithm, "typ": "JWT", **options.get("header", {})}
message = ".".join(encode(json.dumps(part).encode()) for part in (head, claims))
token = f"{message}.{encode(sign(private, message.encode()))}"
print(json.dumps({"event": "token", "token": token, "key": public}), flush=True)
