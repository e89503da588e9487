"""Audio: all sample widths of WAV read alike, tones fall into their band, errors name broken files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy.io import wavfile

import commlearn as cl
from commlearn.errors import ConfigurationError, DataError
from commlearn.kinds.audio import MELS, RATE, Audio, log_mel, mel_filters, read_wav
from commlearn.kinds.base import Cells


def tone(hertz, seconds=0.5, rate=RATE, loudness=0.5):
    return loudness * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def cells(values, root=".", first_row=0) -> Cells:
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    return Cells(pd.DataFrame({"sound": pd.Series(column)}), root, first_row)


def wav_24_bit(samples, rate=RATE) -> bytes:
    """Return a WAV file with 24-bit PCM, which scipy reads but does not write."""
    content = io.BytesIO()
    wavfile.write(content, rate, np.zeros(len(samples), np.int16))
    data = (samples * 2**23).astype("<i4").tobytes()
    data = b"".join(data[start : start + 3] for start in range(0, len(data), 4))
    header = bytearray(content.getvalue()[:44])
    header[4:8] = (36 + len(data)).to_bytes(4, "little")
    header[28:32] = (rate * 3).to_bytes(4, "little")
    header[32:36] = (3).to_bytes(2, "little") + (24).to_bytes(2, "little")
    header[40:44] = len(data).to_bytes(4, "little")
    return bytes(header) + data


@pytest.mark.parametrize(
    ("width", "tolerance"),
    [("u1", 2e-2), ("i2", 1e-4), ("i3", 1e-6), ("i4", 1e-6), ("f4", 1e-6), ("f8", 1e-6)],
)
def test_every_width_holds_the_same_sound(tmp_path, width, tolerance):
    sound, path = tone(440), tmp_path / "a.wav"
    if width == "i3":
        path.write_bytes(wav_24_bit(sound))
    else:
        scale = {"u1": 127, "i2": 2**15, "i4": 2**31, "f4": 1, "f8": 1}[width]
        wavfile.write(path, RATE, (sound * scale + (128 if width == "u1" else 0)).astype(width))
    rate, samples = read_wav(path, "a.wav")
    assert rate == RATE
    np.testing.assert_allclose(samples, sound, atol=tolerance)


def test_bytes_of_a_file_sound_like_the_file(tmp_path):
    wavfile.write(tmp_path / "a.wav", RATE, tone(440).astype("f4"))
    content = (tmp_path / "a.wav").read_bytes()
    forms = ["a.wav", content, bytearray(content), {"bytes": content, "path": None}, {"path": "a.wav"}]
    heard = [Audio("sound")._sound(cell, tmp_path) for cell in forms]
    assert all(np.array_equal(heard[0], other) for other in heard[1:])
    problems = Audio("sound").check(cells([content, content[:500], b"RIFF"], tmp_path))
    assert [problem.row for problem in problems] == [1, 2]


def test_stereo_becomes_mono_and_any_rate_becomes_16_khz(tmp_path):
    sound = tone(440, rate=44_100)
    wavfile.write(tmp_path / "stereo.wav", 44_100, np.stack([2 * sound, 0 * sound], axis=1).astype("f4"))
    mono = Audio("sound")._sound("stereo.wav", tmp_path)
    assert len(mono) == RATE // 2
    np.testing.assert_allclose(mono[500:-500], tone(440)[500:-500], atol=1e-3)


@pytest.mark.parametrize("hertz", [300, 1000, 4000, 7000])
def test_a_tone_is_loudest_in_its_band(hertz):
    frames = log_mel(tone(hertz))
    centre = 2595 * np.log10(1 + hertz / 700) / (2595 * np.log10(1 + 8000 / 700)) * (MELS + 1) - 1
    assert frames.shape == (51, MELS)
    assert np.abs(frames[5:-5].argmax(axis=1) - centre).max() <= 1


def test_no_band_is_empty_and_silence_is_finite():
    assert (mel_filters().sum(dim=0) > 0).all()
    assert np.isfinite(log_mel(np.zeros(1))).all()


def test_frames_are_padded_standardised_and_absent_where_cells_are_empty(tmp_path):
    wavfile.write(tmp_path / "short.wav", RATE, tone(440, 0.1).astype("f4"))
    wavfile.write(tmp_path / "long.wav", RATE, tone(880, 0.2).astype("f4"))
    kind, train = Audio("sound"), cells(["short.wav", None, "long.wav"], tmp_path)
    state = json.loads(json.dumps(kind.learn(train), allow_nan=False))
    column = kind.read(train, state)
    assert column.spec == ("audio", (MELS,))
    modality = column.take(np.array([0, 1, 2]))
    assert modality.values.shape == (3, 21, MELS)
    assert modality.values.dtype == torch.float32
    assert modality.present.tolist() == [True, False, True]
    assert (~modality.padding).sum(dim=1).tolist() == [11, 0, 21]
    real = modality.values[~modality.padding]
    torch.testing.assert_close(real.mean(dim=0), torch.zeros(MELS), atol=1e-4, rtol=0)
    torch.testing.assert_close(real.std(dim=0, correction=0), torch.ones(MELS), atol=1e-3, rtol=0)


def test_only_training_rows_decide_the_scale():
    kind = Audio("sound", rate=RATE)
    state = kind.learn(cells([tone(440)]))
    louder = kind.read(cells([tone(440, loudness=1.0)]), state).take(np.array([0])).values
    assert louder.mean() > 1


def test_long_sound_is_averaged():
    kind = Audio("sound", rate=8000, max_length=10)
    column = kind.read(cells([tone(440, rate=8000)]), kind.learn(cells([tone(440, rate=8000)])))
    assert column.take(np.array([0])).values.shape == (1, 9, MELS)  # 51 frames, averaged by 6


def test_arrays_need_a_rate_and_whole_numbers_are_shares_of_full_scale():
    with pytest.raises(DataError, match="sound row 0: holds samples without a rate"):
        Audio("sound").learn(cells([tone(440)]))
    kind = Audio("sound", rate=RATE)
    state = kind.learn(cells([tone(440)]))
    floats = kind.read(cells([tone(440)]), state).take(np.array([0])).values
    sound = kind._sound(tone(440), Path())
    whole, narrow = (tone(440) * 2**15).astype(np.int16), (tone(440) * 127).astype(np.int8)
    for cell in (
        *(whole.astype(kind) for kind in (np.int16, np.int32, np.int64)),
        *((whole.astype(np.int64) << by) for by in (8, 16)),  # 24 and 32 bits
        whole.tolist(),
        str(whole.tolist()),
        narrow,
        (narrow.astype(np.int16) + 128).astype(np.uint8),
    ):
        np.testing.assert_allclose(kind._sound(cell, Path()), sound, atol=2e-2)
    listed = kind.read(cells([tone(440).tolist()]), state).take(np.array([0])).values
    torch.testing.assert_close(listed, floats)


@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("kind_of_sample", ["int8", "uint8"])
def test_samples_of_8_bits_sound_the_same_in_a_list_of_arrow_as_in_an_array(kind_of_sample, chunks):
    samples = [tone(440, loudness=share) * 127 + 128 * (kind_of_sample == "uint8") for share in (0.5, 0.1)]
    arrays = [part.astype(kind_of_sample) for part in samples]
    kind, rows = Audio("sound", rate=RATE), np.arange(2)
    expected = kind.read(cells(arrays), kind.learn(cells(arrays))).take(rows).values
    listed = pa.ListArray.from_arrays([0, len(arrays[0]), 2 * len(arrays[0])], np.concatenate(arrays))
    parts = pa.chunked_array([listed] if chunks == 1 else [listed[:1], listed[1:]])
    column = pd.Series(pd.arrays.ArrowExtensionArray(parts))
    stored = Cells(pd.DataFrame({"sound": column}))
    torch.testing.assert_close(kind.read(stored, kind.learn(stored)).take(rows).values, expected)


def test_a_quiet_cell_has_the_full_scale_of_its_column():
    kind = Audio("sound", rate=RATE)
    loud, quiet = ((tone(440, loudness=share) * 2**31).astype(np.int32) for share in (0.5, 0.0005))
    state = json.loads(json.dumps(kind.learn(cells([loud, quiet]))))
    whole = kind.read(cells([quiet, quiet.tolist(), str(quiet.tolist())]), state).take(np.arange(3)).values
    exact = kind.read(cells([tone(440, loudness=0.0005)]), state).take(np.array([0])).values
    torch.testing.assert_close(whole, exact.expand_as(whole), atol=1e-3, rtol=1e-3)
    assert "full_scale" not in kind.learn(cells([(tone(440) * 2**15).astype(np.int32)]))


def test_a_model_of_wide_samples_is_read_back(tmp_path):
    sounds = [(tone(220 * (1 + row % 3), loudness=0.3) * 2**31).astype(np.int32) for row in range(24)]
    table = pd.DataFrame({"sound": sounds, "hertz": 220.0 * (1 + np.arange(24) % 3)})
    schema = cl.Schema({"sound": Audio("sound", rate=RATE), "label": cl.Tabular(["hertz"])})
    model = cl.Embedder(schema, epochs=1).fit(table)
    again = cl.Embedder.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(again.transform(table), model.transform(table))


def test_every_bad_row_is_named(tmp_path):
    content = io.BytesIO()
    wavfile.write(content, RATE, tone(440).astype("f4"))
    good = content.getvalue()
    (tmp_path / "good.wav").write_bytes(good)
    (tmp_path / "cut.wav").write_bytes(good[: len(good) // 2])
    (tmp_path / "header.wav").write_bytes(good[:30])
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "song.wav").write_bytes(b"ID3 this is no wave file at all" * 10)
    wavfile.write(tmp_path / "none.wav", RATE, np.zeros(0, np.int16))
    wavfile.write(tmp_path / "nan.wav", RATE, np.full(100, np.nan, np.float32))
    (tmp_path.parent / "outside.wav").write_bytes(good)
    bad = {
        "cut.wav": "cut off",
        "header.wav": "cannot be read as a WAV file",
        "empty.wav": "cannot be read as a WAV file",
        "song.wav": "cannot be read as a WAV file",
        "none.wav": "has no samples",
        "nan.wav": "not finite",
        "lost.wav": "there is no such file",
        "../outside.wav": "is outside the table's folder",
    }
    column = cells(["good.wav", *bad], tmp_path, first_row=20)
    with pytest.raises(DataError) as caught:
        Audio("sound").learn(column)
    assert f"sound: {len(bad)} rows cannot be read" in str(caught.value)
    for row, reason in enumerate(bad.values(), start=21):
        assert reason in next(line for line in str(caught.value).splitlines() if f"row {row}:" in line)
    assert len(Audio("sound").check(column)) == len(bad)
    Audio("sound", outside=True).learn(cells(["../outside.wav"], tmp_path))


@pytest.mark.parametrize("end", range(0, 130, 7))
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path, end):
    content = io.BytesIO()
    wavfile.write(content, RATE, tone(440, 0.01).astype(np.int16))
    (tmp_path / "cut.wav").write_bytes(content.getvalue()[:end])
    with pytest.raises(DataError, match="cut.wav"):
        Audio("sound").learn(cells(["cut.wav"], tmp_path))


def test_a_header_that_lies_never_ends_otherwise_than_by_name(tmp_path):
    rng = np.random.default_rng(0)
    content = io.BytesIO()
    wavfile.write(content, RATE, tone(440, 0.01).astype(np.int16))
    for _ in range(200):
        damaged = bytearray(content.getvalue())
        for place in rng.integers(0, 44, size=2):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / "bad.wav").write_bytes(damaged)
        problems = Audio("sound").check(cells(["bad.wav"], tmp_path))  # none or one
        assert all(str(problem).startswith("sound row 0: ") for problem in problems)


def test_check_tells_of_silence_and_of_nothing_at_all():
    problems = Audio("sound", rate=RATE).check(cells([tone(440), np.zeros(500)]))
    assert [(problem.level, problem.row) for problem in problems] == [("warning", 1)]
    for empty in (None, [], np.zeros(0), "[]"):
        assert "no row has sound" in str(Audio("sound").check(cells([empty]))[0])
    with pytest.raises(DataError, match="none of the training rows"):
        Audio("sound").learn(cells([None]))


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(ConfigurationError, match="rate is 0"):
        Audio("sound", rate=0)
    for length in (0, 2.5, "64"):
        with pytest.raises(ConfigurationError, match=f"max_length is {length!r}"):
            Audio("sound", max_length=length)


def test_objects_without_a_file_are_absent_and_decoded_ones_are_named():
    kind = Audio("sound", rate=RATE)
    state = kind.learn(cells([tone(440)]))
    column = kind.read(cells([{"bytes": None, "path": None}, tone(440)]), state)
    assert column.take(np.arange(2)).present.tolist() == [False, True]
    decoded = {"path": None, "array": tone(440), "sampling_rate": RATE}
    with pytest.raises(DataError, match="has neither 'bytes' nor a 'path'; give the bytes or the path"):
        kind.read(cells([decoded]), state)
