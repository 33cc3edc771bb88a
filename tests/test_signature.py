import math

import pytest
import torch
from scipy.stats import binom

from ipr.errors import InputError
from ipr.signature import (
    agreeing_bits,
    binomial_tail,
    bits_of,
    decode_text,
    detect,
    draw_signature,
    encode_text,
    sign_loss,
)


def test_text_is_written_as_in_table_viii():
    # Section IV-E lists "thisis"; its third and fifth rows (i) have a bit missing in the list but not in Table VIII.
    expected = {
        "t": [-1, 1, 1, 1, -1, 1, -1, -1],
        "h": [-1, 1, 1, -1, 1, -1, -1, -1],
        "i": [-1, 1, 1, -1, 1, -1, -1, 1],
        "s": [-1, 1, 1, 1, -1, -1, 1, 1],
    }
    for letter, bits in expected.items():
        assert encode_text(letter).tolist() == bits


@pytest.mark.parametrize("text", ["this is mine", "", "Grüße, 所有者 🔑", "\x00\x7f"])
def test_text_round_trip(text):
    assert decode_text(encode_text(text)) == text


def test_damaged_text_is_still_read():
    bits = encode_text("mine")
    bits[0] = 1  # no longer UTF-8
    assert decode_text(bits).endswith("ine")


def test_sign_loss_against_eq_6_by_hand():
    gamma = torch.tensor([0.3, -0.3, 0.05, -0.05, 0.0], dtype=torch.float64, requires_grad=True)
    bits = torch.tensor([1, 1, 1, -1, -1], dtype=torch.int8)
    loss = sign_loss(gamma, bits, gamma_0=0.1)
    assert loss.item() == pytest.approx(0 + 0.4 + 0.05 + 0.05 + 0.1)
    loss.backward()
    assert gamma.grad.tolist() == [0, -1, -1, 1, 1]  # zero once the sign and the magnitude are there


def test_channels_without_a_bit_have_no_loss_and_no_gradient():
    gamma = torch.tensor([0.3, -0.3, 0.05, 0.0, -2.0], dtype=torch.float64, requires_grad=True)
    bits = torch.tensor([0, 1, 0, 0, -1], dtype=torch.int8)
    loss = sign_loss(gamma, bits, gamma_0=0.1)
    assert loss.item() == pytest.approx(0.4)
    loss.backward()
    assert gamma.grad.tolist() == [0, -1, 0, 0, 0]


def test_detection_inverts_the_signs():
    gamma = torch.tensor([0.2, -0.1, 1e-42, -1e-42])
    assert detect(gamma).tolist() == [1, -1, 1, -1]
    assert detect(-gamma).tolist() == [-1, 1, -1, 1]


def test_what_has_no_sign_agrees_with_no_bit():
    nothing = torch.tensor([0.0, -0.0, float("nan")])
    assert detect(nothing).tolist() == [0, 0, 0]
    for bit in (-1, 1):
        assert agreeing_bits(detect(nothing), torch.full((3,), bit, dtype=torch.int8)) == 0
    assert agreeing_bits(detect(nothing), torch.zeros(3, dtype=torch.int8)) == 0  # where there is no bit, none agrees
    assert agreeing_bits(torch.tensor([1, -1, 1, 0]), torch.tensor([1, 0, -1, 0], dtype=torch.int8)) == 1


def test_signature_puts_text_first_and_is_reproducible():
    layers = {"a": 10, "b": 30}
    first = draw_signature(layers, "abc", torch.Generator().manual_seed(5))
    again = draw_signature(layers, "abc", torch.Generator().manual_seed(5))
    other = draw_signature(layers, "abc", torch.Generator().manual_seed(6))
    assert {name: bits.numel() for name, bits in first.items()} == layers
    joined = torch.cat(list(first.values()))
    assert decode_text(joined[:24]) == "abc"
    assert all(torch.equal(first[name], again[name]) for name in layers)
    assert not torch.equal(joined[24:], torch.cat(list(other.values()))[24:])
    assert set(joined.tolist()) == {-1, 1}


def test_fewer_channels_than_there_are_carry_the_bits_in_their_order():
    layers = {"a": 10, "b": 30, "c": 50}
    one = draw_signature(layers, "abc", torch.Generator().manual_seed(5), 40)
    assert {name: bits.numel() for name, bits in one.items()} == layers
    assert {bits.dtype for bits in one.values()} == {torch.int8}
    bits = bits_of(one)
    assert (bits.numel(), decode_text(bits[:24])) == (40, "abc")
    again = draw_signature(layers, "abc", torch.Generator().manual_seed(5), 40)
    assert all(torch.equal(one[name], again[name]) for name in layers)
    everything, asked = (draw_signature(layers, "abc", torch.Generator().manual_seed(5), n) for n in (None, 90))
    assert all(torch.equal(everything[name], asked[name]) for name in layers)
    with pytest.raises(InputError, match=r"needs 24 bits, but the layers a, b, c hold 23"):
        draw_signature(layers, "abc", torch.Generator(), 23)


def test_every_channel_is_as_likely_to_carry_a_bit():
    drawn = [draw_signature({"a": 4, "b": 6}, None, torch.Generator().manual_seed(n), 3) for n in range(2000)]
    carrying = torch.stack([torch.cat(list(one.values())) != 0 for one in drawn]).float().mean(0)
    assert (carrying - 0.3).abs().max() < 4 * math.sqrt(0.3 * 0.7 / 2000)


@pytest.mark.parametrize("count", [0, -1, 41])
def test_there_are_only_so_many_channels(count):
    with pytest.raises(InputError, match=rf"scheme.bits={count}: is not from 1 to 40.*at most 40, or null for all"):
        draw_signature({"a": 10, "b": 30}, None, torch.Generator(), count)


def test_random_bits_are_balanced():
    bits = draw_signature({"a": 20_000}, None, torch.Generator().manual_seed(0))["a"]
    assert abs(bits.float().mean()) < 4 / math.sqrt(20_000)


def test_text_that_does_not_fit_is_refused_without_being_told():
    with pytest.raises(InputError, match=r"needs 32 bits, but the layers a, b hold 31.*shorten it to 3 bytes") as error:
        draw_signature({"a": 16, "b": 15}, "mine", torch.Generator())
    assert "mine" not in str(error.value)  # the text is a secret
    assert draw_signature({"a": 16, "b": 16}, "mine", torch.Generator())


@pytest.mark.parametrize("total", [1, 8, 224, 896])
def test_binomial_tail_against_scipy(total):
    for agreeing in {0, 1, total // 2, total * 3 // 4, total - 1, total}:
        p_value, log10 = binomial_tail(agreeing, total)
        assert p_value == pytest.approx(binom.sf(agreeing - 1, total, 0.5), rel=1e-9)
        assert log10 == pytest.approx(binom.logsf(agreeing - 1, total, 0.5) / math.log(10), abs=1e-9)


@pytest.mark.parametrize("choices", [3, 10, 101])
def test_binomial_tail_of_guesses_among_several_answers(choices):
    for agreeing in (0, 1, 10, 37, 99, 100):
        p_value, log10 = binomial_tail(agreeing, 100, choices)
        assert p_value == pytest.approx(binom.sf(agreeing - 1, 100, 1 / choices), rel=1e-9)
        assert log10 == pytest.approx(binom.logsf(agreeing - 1, 100, 1 / choices) / math.log(10), abs=1e-9)


def test_binomial_tail_below_the_smallest_float():
    p_value, log10 = binomial_tail(2560, 2560)  # ResNet-18's capacity
    assert p_value == 0.0
    assert log10 == pytest.approx(-2560 * math.log10(2))
    assert binomial_tail(5, 5) == (1 / 32, pytest.approx(math.log10(1 / 32)))


@pytest.mark.parametrize(("agreeing", "total"), [(-1, 5), (6, 5)])
def test_binomial_tail_refuses_nonsense(agreeing, total):
    with pytest.raises(ValueError, match=f"agreeing={agreeing}"):
        binomial_tail(agreeing, total)
