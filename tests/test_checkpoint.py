"""Checkpoints: a search that was interrupted goes on from its last block, and ends as if nothing had happened."""

import errno
import os
import shutil
import subprocess

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import BernoulliNB
from sklearn.tree import ExtraTreeClassifier

from fastsl import SearchLight
from fastsl.checkpoints import recorder
from fastsl.checkpoints.blocks import find_files, gaps
from fastsl.checkpoints.shards import WHOLE
from fastsl.record import npz_bytes

RADIUS = 15.0
NUMBERS = np.random.default_rng(0).standard_normal(40)
#: Arguments of SearchLight, and whether it takes numbers.
SEARCHES = {
    "classifier": ({}, False),
    "several scores": ({"scoring": ["accuracy", "roc_auc"], "estimator": "gnb"}, False),
    "predictions": ({"keep_predictions": True, "keep_confusion": True}, False),
    "standardised": ({"standardize": True}, False),
    "regressor": ({"estimator": Ridge(), "keep_predictions": True}, True),
}
ATTRIBUTES = ("fold_scores_", "masked_scores_", "scores_", "n_voxels_", "predictions_", "decisions_", "confusion_")


@pytest.fixture
def fit(phantom):
    def call(folder=None, numbers=False, shard=None, **arguments):
        searchlight = SearchLight(phantom.mask_img, radius=RADIUS, n_jobs=1, checkpoint=folder, **arguments)
        y = NUMBERS if numbers else phantom.labels["condition"]
        return searchlight.fit(phantom.img, y, shard=shard)

    return call


def assert_same(found, expected):
    for name in ATTRIBUTES:
        one, other = getattr(found, name), getattr(expected, name)
        if not isinstance(one, dict):
            one, other = {"": one}, {"": other}
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=name)


def files(folder, shard=WHOLE):
    return find_files(folder / shard.folder)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_interrupted_search_goes_on_and_ends_the_same(fit, small_blocks, decoded, tmp_path, search, error):
    arguments, numbers = SEARCHES[search]
    expected = fit(numbers=numbers, **arguments)
    n_blocks = len(decoded)
    assert n_blocks == 30
    for stop_after in (1, 11):  # blocks of each attempt
        decoded.clear()
        decoded.stop_after, decoded.error = stop_after, error
        with pytest.raises(error):
            fit(tmp_path, numbers, **arguments)
        assert sum(file.stop - file.start for file in files(tmp_path)) == 64 * (1 if stop_after == 1 else 12)
    decoded.clear()
    decoded.stop_after = None
    assert_same(fit(tmp_path, numbers, **arguments), expected)
    assert len(decoded) == n_blocks - 12
    decoded.clear()
    assert_same(fit(tmp_path, numbers, **arguments), expected)
    assert decoded == []


def test_the_general_path_goes_on_too(fit, few_centres, small_blocks, decoded, tmp_path, monkeypatch):
    monkeypatch.setattr("fastsl.general.FIRST_BLOCK", 8)
    monkeypatch.setattr("fastsl.general.GeneralEngine.seconds_a_block", 1e9)
    monkeypatch.setattr("fastsl.search.LARGEST_BLOCK", 8)
    arguments = {"estimator": BernoulliNB(), "process_mask_img": few_centres, "keep_predictions": True}
    expected = fit(**arguments)
    n_blocks = len(decoded)
    decoded.clear()
    decoded.stop_after = 1
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, **arguments)
    decoded.stop_after = None
    assert_same(fit(tmp_path, **arguments), expected)
    assert len(decoded) == n_blocks > 1


def test_an_estimator_without_a_seed_is_warned_of(fit, few_centres, tmp_path):
    def search(folder, **arguments):
        estimator = ExtraTreeClassifier(max_depth=1, **arguments)
        fit(folder, estimator=estimator, process_mask_img=few_centres)

    search(tmp_path / "seeded", random_state=0)
    search(None)
    with pytest.warns(RuntimeWarning, match="ExtraTreeClassifier draws random numbers without a seed"):
        search(tmp_path / "not")


def test_python_objects_are_not_stored():
    with pytest.raises(TypeError, match=r"y holds Python objects \(None, ...\): only text and numbers are stored"):
        npz_bytes({"y": np.array([None, "a"], dtype=object)})


def test_shards_are_continued_alone(fit, small_blocks, decoded, tmp_path):
    expected = fit(shard=(2, 3))
    decoded.clear()
    decoded.stop_after = 4
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, shard=(2, 3))
    decoded.stop_after = None
    assert_same(fit(tmp_path, shard=(2, 3)), expected)
    assert len(decoded) == 4 + (expected.n_elements_ - 4 * 64 + 63) // 64
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-2-of-3"]


@pytest.mark.parametrize("written", [False, True])
def test_ctrl_c_while_a_file_is_made_loses_no_block(fit, small_blocks, tmp_path, monkeypatch, written):
    def interrupted(*arguments):
        monkeypatch.setattr(recorder, "write_blocks", write)
        if written:
            write(*arguments)
        raise KeyboardInterrupt

    write = recorder.write_blocks
    monkeypatch.setattr(recorder, "write_blocks", interrupted)
    monkeypatch.setattr(recorder, "BYTES_A_FILE", 100)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path)
    assert [(file.start, file.stop) for file in files(tmp_path)] == [(0, 64)]


def test_a_search_that_saved_nothing_leaves_nothing(fit, decoded, tmp_path):
    decoded.stop_after = 0
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_blocks_are_gathered_to_a_file_now_and_then(fit, monkeypatch, small_blocks, tmp_path):
    monkeypatch.setattr(recorder, "SECONDS_A_FILE", 1000.0)
    fit(tmp_path / "one")
    assert [(file.start, file.stop) for file in files(tmp_path / "one")] == [(0, 1912)]
    monkeypatch.setattr(recorder, "BYTES_A_FILE", 100)
    fit(tmp_path / "many")
    assert len(files(tmp_path / "many")) == 30


def test_a_file_is_a_plain_npz_that_names_its_centres(fit, small_blocks, tmp_path):
    whole = fit(tmp_path)
    second = files(tmp_path)[1]
    assert second.path.name.startswith("centres-000000064-000000128-")
    with np.load(second.path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["0.scores"][0], whole.fold_scores_[:, 64:128])
        np.testing.assert_array_equal(arrays["0.sizes"], whole.n_voxels_[64:128])


def test_the_warnings_of_the_whole_come_after_a_resumed_search(fit, small_blocks, decoded, tmp_path):
    decoded.stop_after = 5
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, min_voxels=19)
    decoded.stop_after = None
    with pytest.warns(RuntimeWarning) as resumed:
        fit(tmp_path, min_voxels=19)
    with pytest.warns(RuntimeWarning) as whole:
        fit(min_voxels=19)
    assert [str(one.message) for one in resumed] == [str(one.message) for one in whole]


@pytest.mark.parametrize("harm", ["a flipped bit", "cut short", "empty", "renamed"])
def test_a_damaged_block_is_decoded_again(fit, small_blocks, decoded, tmp_path, harm):
    expected = fit(tmp_path)
    file = files(tmp_path)[3]
    content = bytearray(file.path.read_bytes())
    if harm == "a flipped bit":
        content[len(content) // 2] ^= 1
    elif harm == "cut short":
        content = content[:-1]
    elif harm == "empty":
        content = b""
    if harm == "renamed":
        os.replace(file.path, file.path.with_name(files(tmp_path)[4].path.name))
    else:
        file.path.write_bytes(content)
    decoded.clear()
    with pytest.warns(
        RuntimeWarning, match="is damaged: its checksum is not that of its name; its spheres are decoded"
    ):
        assert_same(fit(tmp_path), expected)
    assert decoded == ([64, 64] if harm == "renamed" else [64])


def test_results_that_are_put_together_from_files_are_those_of_a_fit(phantom, small_blocks, tmp_path):
    y, expected = phantom.labels["condition"], SearchLight(phantom.mask_img, radius=RADIUS, n_jobs=1)
    expected.fit(phantom.img, y)
    searchlight = clone(expected).set_params(checkpoint=tmp_path)
    searchlight._keeps_images = False
    assert_same(searchlight.fit(phantom.img, y), expected)
    assert_same(searchlight.fit(phantom.img, y), expected)  # all of it from an earlier process


def test_a_file_that_is_damaged_before_it_is_read_back_is_an_error(phantom, small_blocks, tmp_path, monkeypatch):
    def damage(*arguments):
        write(*arguments)
        for file in files(tmp_path):
            file.path.write_bytes(b"")

    write = recorder.write_blocks
    monkeypatch.setattr(recorder, "write_blocks", damage)
    searchlight = SearchLight(phantom.mask_img, radius=RADIUS, n_jobs=1, checkpoint=tmp_path)
    searchlight._keeps_images = False
    with (
        pytest.warns(RuntimeWarning, match="is damaged"),
        pytest.raises(OSError, match=r"cannot be read back: give the same command again"),
    ):
        searchlight.fit(phantom.img, phantom.labels["condition"])


def test_a_damaged_manifest_costs_no_block(fit, decoded, tmp_path):
    expected = fit(tmp_path)
    manifest = tmp_path / WHOLE.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("1912", "1913"))
    decoded.clear()
    with pytest.warns(RuntimeWarning, match=r"manifest.json is damaged: its checksum is not that of its content"):
        assert_same(fit(tmp_path), expected)
    assert decoded == []


OTHERS = {
    "radius": ({"radius": 12.0}, "radius (12.0 here, 15.0 there)"),
    "estimator": ({"estimator": "ridge_classifier"}, "what differs: estimator"),
    "seed": ({"random_state": 1}, "estimator"),
    "folds": ({"cv": 4}, "folds"),
    "score": ({"scoring": "roc_auc"}, "scoring"),
    "standardize": ({"standardize": True}, "standardize (True here, False there)"),
    "predictions": ({"keep_predictions": True}, "keep_predictions (True here, False there)"),
    "min_voxels": ({"min_voxels": 2}, "min_voxels (2 here, 1 there)"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_other_settings_is_refused(phantom, fit, decoded, tmp_path, other):
    fit(tmp_path)
    decoded.clear()
    arguments, message = OTHERS[other]
    searchlight = SearchLight(phantom.mask_img, n_jobs=1, checkpoint=tmp_path, **{"radius": RADIUS, **arguments})
    with pytest.raises(ValueError, match="holds blocks of another analysis, which cannot be joined") as refused:
        searchlight.fit(phantom.img, phantom.labels["condition"])
    assert message in str(refused.value)
    assert f"choose another folder, or remove {tmp_path}" in str(refused.value)
    assert decoded == []


@pytest.mark.parametrize("change", ["one voxel", "one label", "mask", "version", "centres"])
def test_a_checkpoint_of_other_data_is_refused(phantom, few_centres, fit, tmp_path, change, monkeypatch):
    fit(tmp_path)
    img, y, mask, centres = phantom.img, phantom.labels["condition"].copy(), phantom.mask_img, None
    inside = np.argwhere(mask.get_fdata() > 0)
    if change == "one voxel":
        data = np.asanyarray(img.dataobj).copy()
        data[(*inside[7], 3)] += 1
        img = type(img)(data, img.affine)
    elif change == "one label":
        y[0] = y[np.flatnonzero(y != y[0])[0]]
    elif change == "mask":
        data = np.asanyarray(mask.dataobj).copy()
        data[tuple(inside[0])] = 0
        mask = type(mask)(data, mask.affine)
    elif change == "centres":
        centres = few_centres
    else:
        monkeypatch.setattr("fastsl.record.__version__", "0.0.9")
    searchlight = SearchLight(mask, centres, radius=RADIUS, n_jobs=1, checkpoint=tmp_path)
    named = {"one voxel": "imgs", "one label": "y", "version": r"fastsl \('0.0.9' here"}.get(change, change)
    with pytest.raises(ValueError, match=f"what differs: .*{named}"):
        searchlight.fit(img, y)


def test_another_number_of_shards_is_refused(fit, tmp_path):
    fit(tmp_path, shard=(1, 4))
    with pytest.raises(ValueError, match="it was cut into 4 shards, not 3"):
        fit(tmp_path, shard=(2, 3))
    with pytest.raises(ValueError, match="it was cut into 4 shards, not 1"):
        fit(tmp_path)


@pytest.mark.parametrize("given", [3, True, ["folder"]])
def test_a_checkpoint_is_a_folder(fit, given):
    with pytest.raises(TypeError, match="checkpoint must be a folder or None, got"):
        fit(given)


def test_a_checkpoint_is_an_ordinary_parameter(tmp_path):
    searchlight = SearchLight(checkpoint=tmp_path)
    assert clone(searchlight).get_params()["checkpoint"] == tmp_path


# Disks


def test_a_folder_that_cannot_be_made_is_named_before_the_work(fit, decoded, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=f"checkpoint: cannot write to {tmp_path}/file/x"):
        fit(tmp_path / "file" / "x")
    assert decoded == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 kB, which fills and can be made read-only even for root."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=200k", "tmpfs", place], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("this root may not mount a file system")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_read_only_file_system_is_named_before_the_work(fit, decoded, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OSError, match=f"checkpoint: cannot write to {small_disk}.*Read-only file system"):
        fit(small_disk)
    assert decoded == []


def test_a_disk_that_is_too_small_is_named_at_the_first_block(fit, small_blocks, decoded, small_disk):
    with pytest.raises(OSError, match=f"{small_disk}.* has no room for the results of 1912 spheres: they take .* MB"):
        fit(small_disk, keep_predictions=True)
    assert len(decoded) == 1


def test_a_disk_that_fills_meanwhile_keeps_what_is_there(fit, small_blocks, decoded, small_disk):
    expected = fit()
    decoded.clear()
    with open(small_disk / "of somebody else", "wb") as file:
        file.write(bytes(60_000))
        file.flush()
        with pytest.raises(OSError, match=r"No space left on device\): \d+ of 1912 spheres are saved there. Make room"):
            fit(small_disk)
    n_saved = sum(file.stop - file.start for file in files(small_disk))
    assert 0 < n_saved < 1912
    (small_disk / "of somebody else").unlink()
    decoded.clear()
    assert not list(small_disk.rglob("*.part"))
    with pytest.raises(OSError, match="No space left on device"):
        fit(small_disk)  # a file a block needs more than this disk has
    assert sum(file.stop - file.start for file in files(small_disk)) > n_saved
    del expected


def test_an_error_of_the_disk_says_what_is_saved(fit, small_blocks, decoded, tmp_path, monkeypatch):
    expected = fit()
    decoded.clear()
    sync, calls = os.fsync, []

    def failing(handle):
        calls.append(handle)
        if len(calls) > 8:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        return sync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match=r"cannot write to .*shard-1-of-1 \(Disk quota exceeded\): 384 of 1912 spheres"):
        fit(tmp_path)
    monkeypatch.undo()
    assert_same(fit(tmp_path), expected)


def test_gaps():
    assert gaps([], 0, 0) == []
    assert gaps([], 2, 5) == [(2, 5)]
    assert gaps([(0, 9)], 2, 5) == []
    assert gaps([(0, 3), (2, 4)], 2, 5) == [(4, 5)]
    assert gaps([(7, 9)], 2, 5) == [(2, 5)]
