"""The chameleon hash against the algebra that it is defined by."""

import hashlib

import pytest

from ipr.passport.chameleon import G, P, Q, chameleon_hash, collision, exponent, is_key, key_of, message

X = exponent(b"a trapdoor")


def pi_floor(bits):
    """floor(2^bits pi) by Machin's formula, in whole numbers."""
    one = 1 << (bits + 64)

    def arctan_of_inverse(n):
        term, total, k, sign = one // n, one // n, 3, -1
        while term:
            term //= n * n
            total += sign * (term // k)
            k, sign = k + 2, -sign
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) >> 64


def probably_prime(n):
    """Miller and Rabin's test with twelve bases."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        x = pow(base, odd, n)
        if x not in (1, n - 1) and not any((x := x * x % n) == n - 1 for _ in range(twos - 1)):
            return False
    return True


def test_the_group_is_that_of_rfc_3526():
    """Whose prime is 2^2048 - 2^1984 - 1 + 2^64 (floor(2^1918 pi) + 124476)."""
    assert 2**2048 - 2**1984 - 1 + 2**64 * (pi_floor(1918) + 124476) == P
    assert probably_prime(P)
    assert probably_prime(Q)
    assert P == 2 * Q + 1
    assert pow(G, Q, P) == 1  # of order Q, which is prime


def test_only_the_trapdoor_finds_a_collision():
    key, m, r, other = key_of(X), message(b"d", [b"one"]), exponent(b"r"), message(b"d", [b"another"])
    value = chameleon_hash(key, m, r)
    assert value == pow(G, (X * m + r) % Q, P)  # g^(x m + r)
    assert chameleon_hash(key, other, collision(X, m, r, other)) == value
    assert chameleon_hash(key, other, r) != value
    assert chameleon_hash(key, other, collision(X + 1, m, r, other)) != value
    assert chameleon_hash(key, m, r + 1) != value


def test_two_openings_give_the_trapdoor_away():
    m, r, other = 5, 7, 11
    second = collision(X, m, r, other)
    assert (r - second) * pow(other - m, -1, Q) % Q == X


@pytest.mark.parametrize("key", [0, 1, P - 1, P, P - G, P + G])
def test_what_is_no_key(key):
    assert not is_key(key)


def test_a_key_is_one():
    assert is_key(key_of(X))
    assert is_key(key_of(1))


def test_what_stands_for_content_is_sha_512_of_its_parts_with_their_lengths():
    content = b"".join(len(part).to_bytes(8, "big") + part for part in (b"domain", b"a", b"bc"))
    assert message(b"domain", [b"a", b"bc"]) == int(hashlib.sha512(content).hexdigest(), 16) < Q
    assert message(b"domain", [b"ab", b"c"]) != message(b"domain", [b"a", b"bc"])
    assert 0 <= exponent(b"") < Q
