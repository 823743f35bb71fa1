"""An LDAP server for one thing: a simple bind, whose password must be a token of RDS. PostgreSQL sends a password in clear text
to it, as RDS does to IAM.

iam_directory.py HOST PORT REGION KEY SECRET: prints its port, then one line for each bind. It signs with botocore what the token
says that it is, at the token's own time, and compares: it shares no code with fumidai.
"""
import datetime, socketserver, sys
from unittest import mock
from urllib.parse import parse_qs, urlencode, quote, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

host, port, region, key, secret = sys.argv[1:]
SUCCESS, INVALID_CREDENTIALS = 0, 49


def fault(user, token):
    """Returns what is wrong with a token, if something is."""
    url = urlsplit("https://" + token)
    fields = {name: values[0] for name, values in parse_qs(url.query, strict_parsing=True).items()}
    if url.netloc != f"{host}:{port}":
        return f"it is for {url.netloc}"
    if fields["DBUser"] != user:
        return f"it is for user {fields['DBUser']}"
    signed = datetime.datetime.strptime(fields["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    if fields["X-Amz-Expires"] != "900" or not -60 < (now - signed).total_seconds() < 900:
        return "it is not of the last 15 minutes"
    query = urlencode({"Action": "connect", "DBUser": user}, quote_via=quote)
    request = AWSRequest(method="GET", url=f"https://{host}:{port}/?{query}")
    with mock.patch("botocore.auth.get_current_datetime", lambda *_: signed):
        SigV4QueryAuth(Credentials(key, secret), "rds-db", region, expires=900).add_auth(request)
    return None if request.url == "https://" + token else "its signature is wrong"


def element(data, at=0):
    """Reads one BER element: its tag, its value, and where the next one begins."""
    tag, length, at = data[at], data[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(data[at:at + size], "big"), at + size
    return tag, data[at:at + length], at + length


class Directory(socketserver.BaseRequestHandler):
    def message(self):
        data = self.request.recv(65536)
        while data:
            try:
                _, value, end = element(data)
            except IndexError:
                end = len(data) + 1
            if end <= len(data):
                return value
            data += self.request.recv(65536)
        return None

    def handle(self):
        while (message := self.message()) is not None:
            _, number, at = element(message)
            tag, bind, _ = element(message, at)
            if tag != 0x60:  # an UnbindRequest
                return
            _, _, at = element(bind)
            _, name, at = element(bind, at)
            _, token, _ = element(bind, at)
            user = name.decode().removeprefix("uid=")
            try:
                wrong = fault(user, token.decode())
            except (KeyError, ValueError) as error:
                wrong = f"it is not a token: {error!r}"
            print(f"{user}: {wrong or 'welcome'}", flush=True)
            code = INVALID_CREDENTIALS if wrong else SUCCESS
            answer = bytes([0x61, 7, 0x0A, 1, code, 4, 0, 4, 0])
            body = bytes([2, len(number)]) + number + answer
            self.request.sendall(bytes([0x30, len(body)]) + body)


with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Directory) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
