"""The certificates of a lab's TLS servers, and what is said of a peer's.

The keys below are TEACHING KEYS. They are public, the same in every copy of lab, and protect nothing: whoever
reads this file can be any server to a client that trusts the teaching CA. They are here because Python's
standard library cannot make keys and a host may have no program that can. With its CA's key an agent signs a
certificate for the very names that a lesson needs (RFC 5280, PKCS #1 v1.5).

    python -m orchestrator.agent.certificates > ca.pem      for programs in hosts: curl --cacert ca.pem
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import sys
from collections.abc import Iterable, Iterator
from functools import cache

TEACHING_CA_PRIMES = """
f9cb74ac254d983eb826922b5ac2fcd7369d3021a3e8446c2a75b96f3377c1637918ce78ce09976527498793cd55bd7aa9bb
6a2de4b172ab978f813b1c4f26f8496e720dbe972343a7a87a4f7b4c5c1b8e0cd9eb5281b795ea00eb2cbb387d9801bbb2cb
2b8403df431394c2f00884909e0314d1e2885da6f1d10feeee072a5b
f195bd40a0e23ebb246e0bab8643d9b00ef694a1dcdc6b69a589ef67bb1dd1a5c6d095f63f2b64d6e1ca32ef1edcec4e34ee
6e0774253c531bddf0b63a7ad46f06632f7ae3445ae0611fc97c41b1a895061f3a718457b218b4ee1b3aa248d5973059f408
f84db2be1e2d3538913eec652eb59b5f402333a014985e55fde0ef69
"""
TEACHING_SERVER_KEY = """
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjkNW1GMPMYQ7LAo6
F6LoId5v/xmZtCKJeQ8i/qCRD6OhRANCAASPVXWv5v142YQf19/81BZLS72c2ruw
u/B0WYlO1UZYs6mXjlPzP9So6fBHRvbSJK7R9oWb+WHfKvLrTKOe68yn
-----END PRIVATE KEY-----
"""
TEACHING_SERVER_PUBLIC_KEY = base64.b64decode(
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEj1V1r+b9eNmEH9ff/NQWS0u9nNq7sLvwdFmJTtVGWLOpl45T"
    "8z/UqOnwR0b20iSu0faFm/lh3yry60yjnuvMpw=="
)
CA_NAME = "Teaching CA of lab (its key is public)"
_VALID = (b"200101000000Z", b"21200101000000Z")  # for a hundred years, whatever clock a computer has
_SEQUENCE, _SET, _INTEGER, _BITS, _OCTETS, _OID, _TEXT = 0x30, 0x31, 2, 3, 4, 6, 0x0C
_TRUE = b"\x01\x01\xff"
_RSA, _RSA_SHA256 = "2a864886f70d010101", "2a864886f70d01010b"
_SHA256_HEAD = bytes.fromhex("3031300d060960864801650304020105000420")  # of DigestInfo, RFC 8017, 9.2
_COMMON_NAME, _ORGANISATION = "550403", "55040a"
_ATTRIBUTES = {
    "550403": "CN", "550406": "C", "550407": "L", "550408": "ST", "55040a": "O", "55040b": "OU",
}  # fmt: skip


@cache
def authority() -> bytes:
    """The teaching CA's own certificate (DER), always the same."""
    p, q = _primes()
    modulus = _tlv(_SEQUENCE, _number(p * q), _number(65537))
    key = _tlv(_SEQUENCE, _tlv(_SEQUENCE, _oid(_RSA), b"\x05\x00"), _tlv(_BITS, b"\0", modulus))
    uses = _tlv(_BITS, b"\x01\x06")  # keyCertSign, cRLSign
    more = (
        _extension("551d13", _tlv(_SEQUENCE, _TRUE), critical=True),
        _extension("551d0f", uses, critical=True),
        _extension("551d0e", _tlv(_OCTETS, _key_id())),
    )
    return _certificate(CA_NAME, key, more)


@cache
def server(names: tuple[str, ...]) -> bytes:
    """A certificate (DER) of the teaching CA for these names and addresses, and TEACHING_SERVER_KEY."""
    more = (
        _extension("551d11", _tlv(_SEQUENCE, *map(_alternative, names))),
        _extension("551d23", _tlv(_SEQUENCE, _tlv(0x80, _key_id()))),
    )
    return _certificate(names[0], TEACHING_SERVER_PUBLIC_KEY, more)


def pem(certificate: bytes) -> str:
    """As text (RFC 7468)."""
    lines = base64.encodebytes(certificate).decode()
    return f"-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n"


def _certificate(name: str, key: bytes, extensions: Iterable[bytes]) -> bytes:
    algorithm = _tlv(_SEQUENCE, _oid(_RSA_SHA256), b"\x05\x00")
    serial = int.from_bytes(hashlib.sha256(name.encode() + b"".join(extensions)).digest()[:15], "big")
    validity = _tlv(_SEQUENCE, _tlv(0x17, _VALID[0]), _tlv(0x18, _VALID[1]))
    signed = _tlv(
        _SEQUENCE,
        *(_tlv(0xA0, _number(2)), _number(serial), algorithm, _name(CA_NAME), validity, _name(name), key),
        _tlv(0xA3, _tlv(_SEQUENCE, *extensions)),
    )
    return _tlv(_SEQUENCE, signed, algorithm, _tlv(_BITS, b"\0", _signature(signed)))


def _signature(data: bytes) -> bytes:
    """RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2), by the Chinese remainder theorem."""
    p, q = _primes()
    size = ((p * q).bit_length() + 7) // 8
    told = _SHA256_HEAD + hashlib.sha256(data).digest()
    padded = int.from_bytes(b"\0\x01" + b"\xff" * (size - len(told) - 3) + b"\0" + told, "big")
    d = pow(65537, -1, (p - 1) * (q - 1))
    by_p, by_q = pow(padded, d % (p - 1), p), pow(padded, d % (q - 1), q)
    return (by_q + q * ((by_p - by_q) * pow(q, -1, p) % p)).to_bytes(size, "big")


def _primes() -> tuple[int, int]:
    digits = "".join(TEACHING_CA_PRIMES.split())
    return int(digits[:256], 16), int(digits[256:], 16)


def _key_id() -> bytes:
    return hashlib.sha256(TEACHING_CA_PRIMES.encode()).digest()[:20]


def _tlv(tag: int, *parts: bytes) -> bytes:
    """One value in DER (X.690): tag, length, content."""
    content = b"".join(parts)
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    if 128 <= size < 256:
        length = bytes([0x81, size])
    return bytes([tag]) + length + content


def _number(value: int) -> bytes:
    return _tlv(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(digits: str) -> bytes:
    return _tlv(_OID, bytes.fromhex(digits))


def _name(common: str) -> bytes:
    pairs = ((_ORGANISATION, "lab"), (_COMMON_NAME, common))
    parts = [_tlv(_SEQUENCE, _oid(oid), _tlv(_TEXT, text.encode())) for oid, text in pairs]
    return _tlv(_SEQUENCE, *(_tlv(_SET, part) for part in parts))


def _extension(oid: str, value: bytes, critical: bool = False) -> bytes:
    return _tlv(_SEQUENCE, _oid(oid), _TRUE if critical else b"", _tlv(_OCTETS, value))


def _alternative(name: str) -> bytes:
    """A subjectAltName: iPAddress or dNSName."""
    try:
        return _tlv(0x87, ipaddress.ip_address(name).packed)
    except ValueError:
        return _tlv(0x82, name.encode("ascii", "replace"))


def subject(certificate: bytes) -> str | None:
    """Whom a certificate (DER) is about, `CN=web,O=lab`, most specific first (RFC 4514). None where it cannot
    be read: it came from the other end.
    """
    try:
        signed = _values(next(_values(next(_values(certificate))[1]))[1])
        fields = [content for tag, content in signed if tag != 0xA0]
        parts = [_attribute(one) for _, group in _values(fields[4]) for _, one in _values(group)]
    except (ValueError, IndexError, StopIteration):
        return None
    return ",".join(reversed(parts))


def _attribute(content: bytes) -> str:
    (_, oid), (_, text) = list(_values(content))[:2]
    return f"{_ATTRIBUTES.get(oid.hex(), oid.hex())}={text.decode('utf-8', 'replace')}"


def _values(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The values that stand one after the other: tag and content."""
    at = 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size >= 128:
            more = size - 128
            size, at = int.from_bytes(data[at : at + more], "big"), at + more
        if at + size > len(data):
            raise ValueError("a value is cut off")
        yield tag, data[at : at + size]
        at += size


if __name__ == "__main__":
    sys.stdout.write(pem(authority()))
