"""Reading: every form of images and masks gives the same numbers, and what cannot be read is named."""

import gzip
import importlib.util
import shutil
import tracemalloc
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastsl import images
from fastsl._runtime.launch import kernel_threads
from fastsl.images import Grid, Series, centres_on_grid, load_mask, map_image, mask_on_grid, open_image

SHAPE, N = (5, 4, 6), 8
AFFINE = np.array([[-3.0, 0, 0, 10], [0, 2.5, 0.1, -20], [0, -0.1, 4.0, 5], [0, 0, 0, 1]])


def _mask():
    return np.random.default_rng(3).random(SHAPE) < 0.5


def _integers(n=N, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (*SHAPE, n))


def _image(data, affine=AFFINE):
    return nib.Nifti1Image(data, affine)


def _save(image, path):
    nib.save(image, path)
    return path


def _read(imgs, mask=None):
    series = Series(imgs)
    return series.read(_mask() if mask is None else mask, series.dtype)


# ------------------------------------------------------------------------------------------------ how data are stored


def _scaled(data):
    image = _image(data.astype(np.int16))
    image.header.set_slope_inter(0.25, 7.0)
    return image


def _big_endian(data, dtype):
    image = nib.Nifti1Image(data.astype(dtype), AFFINE, nib.Nifti1Header(endianness=">"))
    image.set_data_dtype(dtype)
    return image


#: name: (image to save, values that are then in it, dtype that they are decoded in)
STORED = {
    "uint8": (lambda d: _image(d.astype(np.uint8)), lambda d: d, np.float32),
    "int16": (lambda d: _image(d.astype(np.int16)), lambda d: d, np.float32),
    "int16 with slope and intercept": (_scaled, lambda d: 0.25 * d + 7, np.float64),
    "float32": (lambda d: _image((d / 8).astype(np.float32)), lambda d: d / 8, np.float32),
    "float64": (lambda d: _image(d / 7), lambda d: d / 7, np.float64),
    "big-endian int16": (lambda d: _big_endian(d, ">i2"), lambda d: d, np.float32),
    "big-endian float32": (lambda d: _big_endian(d, ">f4"), lambda d: d, np.float32),
    "big-endian float64": (lambda d: _big_endian(d / 7, ">f8"), lambda d: d / 7, np.float64),
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", STORED)
def test_a_file_is_read_as_voxels_by_volumes(kind, suffix, tmp_path):
    make, values, dtype = STORED[kind]
    path = _save(make(_integers()), tmp_path / f"bold{suffix}")
    X = _read(path)
    np.testing.assert_array_equal(X, values(_integers())[_mask()].astype(dtype))
    assert X.dtype == dtype
    assert X.dtype.isnative
    assert X.flags.c_contiguous
    assert X.flags.writeable


@pytest.mark.parametrize("kind", STORED)
def test_a_file_gives_what_nilearn_gives(kind, tmp_path):
    masking = pytest.importorskip("nilearn.masking")
    path = _save(STORED[kind][0](_integers()), tmp_path / "bold.nii.gz")
    theirs = masking.apply_mask(str(path), _image(_mask().astype(np.uint8)))
    np.testing.assert_array_equal(_read(path), theirs.T)


def _read_only(data):
    data.setflags(write=False)
    return data


@pytest.mark.parametrize(
    "arrange",
    [np.ascontiguousarray, np.asfortranarray, _read_only, lambda d: np.repeat(d, 2, 3)[..., ::2]],
    ids=["C order", "Fortran order", "read-only", "strided"],
)
@pytest.mark.parametrize("dtype", [np.int16, np.float32, ">f4", np.float64])
def test_an_array_in_memory_is_read_and_left_alone(arrange, dtype):
    data = _integers().astype(dtype)
    X = _read(_image(arrange(data.copy())))
    np.testing.assert_array_equal(X, data[_mask()])
    X[:] = -1
    image = _image(arrange(data.copy()))
    _read(image)[:] = -1
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), data)


def test_values_that_the_user_changed_in_memory_count(tmp_path):
    image = nib.load(_save(_image(_integers().astype(np.int16)), tmp_path / "bold.nii"))
    image.get_fdata()[...] += 1000
    np.testing.assert_array_equal(_read(image), _integers()[_mask()] + 1000)


# ------------------------------------------------------------------------------------------------- how images are given


@pytest.fixture
def three_runs(tmp_path):
    """Files sub_run-1, -2, -3 of 2, 3 and 3 volumes, saved in another order."""
    data, ends = _integers(), [0, 2, 5, 8]
    for run in (2, 3, 1):
        part = data[..., ends[run - 1] : ends[run]].astype(np.int16)
        _save(_image(part), tmp_path / f"sub_run-{run}.nii.gz")
    return tmp_path


GIVEN = {
    "path": lambda d: d / "all.nii",
    "text": lambda d: str(d / "all.nii"),
    "wildcard": lambda d: str(d / "sub_run-*.nii.gz"),
    "wildcard path": lambda d: d / "sub_run-?.nii.gz",
    "image": lambda d: nib.load(d / "all.nii"),
    "list of one": lambda d: [d / "all.nii"],
    "list of 4-D": lambda d: [d / f"sub_run-{run}.nii.gz" for run in (1, 2, 3)],
    "tuple of 4-D": lambda d: tuple(str(d / f"sub_run-{run}.nii.gz") for run in (1, 2, 3)),
    "list of 3-D": lambda d: nib.funcs.four_to_three(nib.load(d / "all.nii")),
    "generator of 3-D": lambda d: iter(nib.funcs.four_to_three(nib.load(d / "all.nii"))),
    "mixed": lambda d: [
        *nib.funcs.four_to_three(nib.load(d / "sub_run-1.nii.gz")),
        d / "sub_run-2.nii.gz",
        nib.load(d / "sub_run-3.nii.gz"),
    ],
    "list of wildcards": lambda d: [str(d / "sub_run-[12].nii.gz"), d / "sub_run-3*"],
}


@pytest.mark.parametrize("form", GIVEN)
def test_every_form_gives_the_same_volumes_in_order(form, three_runs):
    _save(_image(_integers().astype(np.int16)), three_runs / "all.nii")
    given = GIVEN[form](three_runs)
    np.testing.assert_array_equal(_read(given), _integers()[_mask()])


def test_a_wildcard_is_sorted_whatever_the_file_system_says(three_runs, monkeypatch):
    found = sorted(str(path) for path in three_runs.glob("sub_*"))
    monkeypatch.setattr(images.glob, "glob", lambda pattern: found[::-1])
    assert Series(three_runs / "sub_*").names == found


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    _save(_image(_integers().astype(np.int16)), tmp_path / "bold.nii")
    _save(_image(_mask().astype(np.uint8)), tmp_path / "mask.nii")
    for given in ("~/bold.nii", Path("~/bold.nii"), "~/bo*.nii"):
        assert Series(given).n_volumes == N
    np.testing.assert_array_equal(load_mask("~/mask.nii", "mask_img").inside, _mask())


def test_a_file_whose_name_looks_like_a_wildcard_is_that_file(tmp_path):
    path = _save(_image(_integers().astype(np.int16)), tmp_path / "bold[1].nii")
    assert Series(str(path)).n_volumes == N


def test_nothing_but_headers_is_read_at_first(three_runs):
    path = three_runs / "sub_run-1.nii.gz"
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:360]))
    assert Series(path).n_volumes == 2


# -------------------------------------------------------------------------------------------------------------- refused


def _cut(path, part):
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    return path


def _bold(folder, suffix, shape=(*SHAPE, N)):
    # Noise does not compress, so that a part of the file is a part of the volumes.
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return _save(_image(data), folder / f"bad{suffix}")


def _text_file(folder, name):
    (folder / name).write_text("no image\n" * 100)
    return folder / name


def _other_grid(folder):
    moved = AFFINE.copy()
    moved[0, 3] += 1
    return [
        _image(_integers()[..., :2].astype(np.int16)),
        _save(_image(np.zeros((*SHAPE, 2)), moved), folder / "bad.nii"),
    ]


REFUSED = {
    "truncated .nii": (
        lambda d: _cut(_bold(d, ".nii"), 0.6),
        ValueError,
        r"bad\.nii cannot be read .*trunc",
    ),
    "truncated .nii.gz": (lambda d: _cut(_bold(d, ".nii.gz"), 0.6), ValueError, r"bad\.nii\.gz cannot be read .*trunc"),
    "truncated 3-D .nii.gz": (
        lambda d: [_cut(_bold(d, ".nii.gz", (15, 15, 15)), 0.6)],
        ValueError,
        r"bad\.nii\.gz cannot be read .*trunc",
    ),
    "cut in the header": (lambda d: _cut(_bold(d, ".nii"), 0.01), ValueError, r"bad\.nii is not an image"),
    "empty file": (lambda d: _cut(_bold(d, ".nii"), 0), ValueError, r"bad\.nii is not an image"),
    "text file": (lambda d: _text_file(d, "bad.txt"), ValueError, r"bad\.txt is not an image"),
    "text named .nii": (lambda d: _text_file(d, "bad.nii"), ValueError, r"bad\.nii is not an image"),
    "text named .nii.gz": (lambda d: _text_file(d, "bad.nii.gz"), ValueError, r"bad\.nii\.gz is not an image"),
    "folder": (lambda d: d, ValueError, "is not an image"),
    "missing file": (lambda d: d / "bad.nii", FileNotFoundError, r"no file .*bad\.nii"),
    "missing file in a list": (lambda d: [_bold(d, ".nii"), d / "gone.nii"], FileNotFoundError, r"no file .*gone\.nii"),
    "wildcard without match": (lambda d: d / "bad*.nii", FileNotFoundError, r"no file matches .*bad\*\.nii"),
    "one 3-D image": (lambda d: _bold(d, ".nii", SHAPE), ValueError, r"bad\.nii has 3 dimensions.*\(5, 4, 6\)"),
    "one 3-D image in memory": (lambda d: _image(np.zeros(SHAPE)), ValueError, "Nifti1Image has 3 dimensions"),
    "5-D image": (lambda d: _bold(d, ".nii", (*SHAPE, 2, 2)), ValueError, r"bad\.nii has 5 dimensions"),
    "5-D image in a list": (lambda d: [_bold(d, ".nii", (*SHAPE, 2, 2))], ValueError, r"bad\.nii has 5 dimensions"),
    "another grid": (_other_grid, ValueError, r"bad\.nii is on another grid .*origin \(11, .*origin \(10, "),
    "another shape": (
        lambda d: [_image(np.zeros((*SHAPE, 2))), _bold(d, ".nii", (5, 4, 5, 2))],
        ValueError,
        r"bad\.nii is on another grid .*5x4x5.*5x4x6",
    ),
    "empty list": (lambda d: [], ValueError, "imgs is empty"),
    "no volume": (lambda d: _image(np.zeros((*SHAPE, 0))), ValueError, "imgs has no volume"),
    "array": (lambda d: np.zeros((*SHAPE, 2)), TypeError, "should be a NiftiLike object.*ndarray"),
    "list of arrays": (lambda d: [np.zeros(SHAPE)], TypeError, "should be a NiftiLike object.*ndarray"),
    "None": (lambda d: None, TypeError, "should be a NiftiLike object.*NoneType"),
    "number": (lambda d: 1, TypeError, "should be a NiftiLike object.*int"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_named(case, tmp_path):
    make, exception, message = REFUSED[case]
    imgs = make(tmp_path)
    with pytest.raises(exception, match=message):
        _read(imgs)


# ------------------------------------------------------------------------------------------------- NaN, select, memory


@pytest.mark.parametrize("fewest", [1, 10**9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_non_finite_values_become_0_with_one_warning_that_counts(dtype, fewest, monkeypatch):
    monkeypatch.setattr(images, "_CHUNK_BYTES", 1)  # a volume at a time, and its voxels by threads: still one warning
    monkeypatch.setattr(images, "_FEWEST", fewest)
    data = _integers().astype(dtype)
    inside = np.argwhere(_mask())
    for n, value in enumerate([np.nan, np.inf, -np.inf]):
        data[(*inside[n], n)] = value
    data[(*np.argwhere(~_mask())[0], 0)] = np.nan  # outside the mask: of no interest
    with (
        pytest.warns(RuntimeWarning, match=rf"imgs has 3 NaN or infinite values .* \(of {N * len(inside)}\)") as caught,
        kernel_threads(3),
    ):
        X = _read(_image(data))
    assert len(caught) == 1
    np.testing.assert_array_equal(X, np.where(np.isfinite(data), data, 0)[_mask()])


@pytest.mark.parametrize("threads", [1, 3])
def test_values_beyond_float32_are_infinite_and_counted_once(threads, monkeypatch):
    monkeypatch.setattr(images, "_FEWEST", 1)
    data = _integers() / 7
    (first, *_, last) = np.argwhere(_mask())
    data[(*first, 0)], data[(*last, 1)] = 1e300, -1e300
    with pytest.warns(RuntimeWarning, match="imgs has 2 NaN or infinite values") as caught, kernel_threads(threads):
        X = Series(_image(data)).read(_mask(), np.float32)
    assert len(caught) == 1
    np.testing.assert_array_equal(X, np.where(np.abs(data) < 1e30, data, 0)[_mask()].astype(np.float32))


@pytest.mark.parametrize("chunk", [1, 3 * 8 * 5 * 4 * 6, 10**9])
def test_select_takes_volumes_across_files_and_chunks(chunk, three_runs, monkeypatch):
    monkeypatch.setattr(images, "_CHUNK_BYTES", chunk)
    monkeypatch.setattr(images, "_FEWEST", 5)
    series = Series(three_runs / "sub_run-*.nii.gz")
    keep = np.array([0, 1, 0, 0, 0, 1, 1, 0], bool)
    chosen = series.select(keep)
    assert (chosen.n_volumes, series.n_volumes) == (3, 8)
    np.testing.assert_array_equal(chosen.read(_mask(), np.float32), _integers()[_mask()][:, keep])
    again = chosen.select(np.array([True, False, True]))
    np.testing.assert_array_equal(again.read(_mask(), np.float32), _integers()[_mask()][:, [1, 6]])
    np.testing.assert_array_equal(series.read(_mask(), np.float32), _integers()[_mask()])


def test_select_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no volume is left"):
        Series(_image(_integers().astype(np.int16))).select(np.zeros(N, bool))


def test_a_gzip_stream_is_read_once_from_front_to_back(tmp_path, monkeypatch):
    if importlib.util.find_spec("indexed_gzip"):
        pytest.skip("indexed_gzip seeks freely")
    monkeypatch.setattr(images, "_CHUNK_BYTES", 2 * 4 * 5 * 4 * 6)
    path = _save(_image(_integers(40).astype(np.int16)), tmp_path / "bold.nii.gz")
    series = Series(path)
    opened, forward, backward = [], [], []
    init, seek = gzip.GzipFile.__init__, gzip.GzipFile.seek

    def counting_init(self, *args, **kwargs):
        opened.append(self)
        init(self, *args, **kwargs)

    def counting_seek(self, offset, whence=0):
        if (offset, whence) != (0, 1):  # which is how tell() asks
            (backward if whence or offset < self.tell() else forward).append(offset)
        return seek(self, offset, whence)

    monkeypatch.setattr(gzip.GzipFile, "__init__", counting_init)
    monkeypatch.setattr(gzip.GzipFile, "seek", counting_seek)
    X = series.read(_mask(), np.float32)
    np.testing.assert_array_equal(X, _integers(40)[_mask()])
    assert len(forward) >= 20  # one for each chunk of two volumes
    assert backward == []
    assert len(opened) <= 1


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_whole_4d_image_is_never_in_memory(suffix, tmp_path, monkeypatch):
    shape = (30, 30, 30, 60)
    data = np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)
    path = _save(_image(data), tmp_path / f"bold{suffix}")
    mask = np.zeros(shape[:3], bool)
    mask[10:14, 10:14, 10:14] = True
    monkeypatch.setattr(images, "_CHUNK_BYTES", 2 * 4 * 30**3)
    tracemalloc.start()
    try:
        X = Series(path).read(mask, np.float32)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(X, data[mask])
    assert peak < 8 * data.size / 8


# ---------------------------------------------------------------------------------------------------------------- masks

MASKS = {
    "boolean": lambda m: m.astype(np.uint8),
    "float": lambda m: m.astype(np.float32),
    "float64": lambda m: m.astype(np.float64),
    "value 2 only": lambda m: (2 * m).astype(np.int16),
    "negative": lambda m: -m.astype(np.int16),
    "big-endian": lambda m: m.astype(">i2"),
    "4-D with one volume": lambda m: m.astype(np.uint8)[..., None],
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("stored", [False, True])
def test_masks_of_any_type(kind, stored, tmp_path):
    image = _image(MASKS[kind](_mask()))
    mask = load_mask(_save(image, tmp_path / "mask.nii.gz") if stored else image, "mask_img")
    assert mask.inside.dtype == bool
    np.testing.assert_array_equal(mask.inside, _mask())
    np.testing.assert_allclose(mask.grid.affine, AFFINE, rtol=1e-6)


def test_a_mask_that_is_one_everywhere():
    assert load_mask(_image(np.ones(SHAPE, np.uint8)), "mask_img").inside.all()


def test_nan_in_a_mask_is_outside_with_a_warning():
    data = _mask().astype(np.float64)
    first, second = np.argwhere(_mask())[:2]
    data[tuple(first)], data[tuple(second)] = np.nan, np.inf
    with pytest.warns(RuntimeWarning, match="mask_img: NaN or infinite values are taken as outside"):
        mask = load_mask(_image(data), "mask_img")
    assert mask.inside.sum() == _mask().sum() - 2
    assert np.isnan(data).sum() == 1  # the user's array stays


def _three_values():
    data = _mask().astype(np.int16)
    data[0, 0, 0] = 2
    return data


BAD_MASKS = {
    "three values": (lambda d: _image(_three_values()), ValueError, "Given mask is not made of 2 values"),
    "1 and 2": (lambda d: _image((_mask() + 1).astype(np.int16)), ValueError, "Given mask is not made of 2 values"),
    "three values in a file": (
        lambda d: _save(_image(_three_values()), d / "bad.nii"),
        ValueError,
        r"bad\.nii has 3 \(\[0, 1, 2\]",
    ),
    "empty": (lambda d: _image(np.zeros(SHAPE)), ValueError, "The mask is invalid as it is empty"),
    "4-D": (lambda d: _image(np.ones((*SHAPE, 2))), ValueError, r"3-D mask, got shape \(5, 4, 6, 2\)"),
    "2-D": (lambda d: _image(np.ones((5, 4))), ValueError, r"3-D mask, got shape \(5, 4\)"),
    "truncated": (lambda d: _cut(_bold(d, ".nii.gz", (15, 15, 15)), 0.6), ValueError, r"bad\.nii\.gz cannot be read"),
    "text": (lambda d: _text_file(d, "bad.nii"), ValueError, r"bad\.nii is not an image"),
    "missing": (lambda d: d / "bad.nii", FileNotFoundError, r"no file .*bad\.nii"),
    "array": (lambda d: np.ones(SHAPE), TypeError, "mask_img: input should be a NiftiLike object.*ndarray"),
}


@pytest.mark.parametrize("case", BAD_MASKS)
def test_a_bad_mask_is_named(case, tmp_path):
    make, exception, message = BAD_MASKS[case]
    given = make(tmp_path)
    with pytest.raises(exception, match=message) as caught:
        load_mask(given, "mask_img")
    assert str(caught.value).startswith("mask_img: ")


# ---------------------------------------------------------------------------------------------------------------- grids


def _moved(part_of_a_voxel, axis=0):
    """AFFINE, shifted along a voxel axis."""
    shift = np.eye(4)
    shift[axis, 3] = part_of_a_voxel
    return AFFINE @ shift


def _stretched(part_of_a_voxel, axis=2):
    """AFFINE with the last corner shifted along an axis, the first corner where it was."""
    stretch = np.eye(4)
    stretch[axis, axis] += part_of_a_voxel / (SHAPE[axis] - 1)
    return AFFINE @ stretch


@pytest.mark.parametrize("move", [_moved, _stretched])
@pytest.mark.parametrize(("part", "same"), [(0.009, True), (-0.009, True), (0.011, False), (-0.011, False)])
def test_grids_match_to_a_hundredth_of_a_voxel_at_the_corners(move, part, same):
    grid = Grid(SHAPE, AFFINE)
    other = Grid(SHAPE, move(part))
    assert grid.matches(other) == other.matches(grid) == same


def test_another_shape_is_another_grid():
    assert not Grid(SHAPE, AFFINE).matches(Grid((5, 4, 7), AFFINE))


def test_rounding_of_headers_is_no_other_grid(tmp_path):
    turn = np.deg2rad(17)
    rotated = np.eye(4)
    rotated[:2, :2] = 2.4 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    rotated[:3, 3] = [-90.123456789, 126.987654321, -72.333333333]
    image = nib.load(_save(_image(_mask().astype(np.uint8), rotated), tmp_path / "mask.nii"))
    assert (image.affine != rotated).any()
    grid = Grid(SHAPE, rotated)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(mask_on_grid(load_mask(image, "mask_img"), grid), _mask())
    np.testing.assert_array_equal(centres_on_grid(load_mask(image, "mask_img"), grid), _mask())


#: Voxel to voxel, from the images' grid to the mask's.
OTHER_GRIDS = {
    "smaller voxels": ((14, 9, 16), np.diag([0.4, 0.45, 0.38, 1.0])),
    "larger voxels": ((3, 2, 4), np.diag([1.7, 2.1, 1.6, 1.0])),
    "shifted": (SHAPE, np.array([[1, 0, 0, 1.2], [0, 1, 0, -0.7], [0, 0, 1, 0.3], [0, 0, 0, 1]])),
    "turned": ((6, 6, 6), np.array([[0.9, 0.4, 0, -0.65], [-0.4, 0.9, 0, 1.15], [0, 0, 1, 0.2], [0, 0, 0, 1]])),
    "flipped": (SHAPE, np.array([[-1, 0, 0, 4.1], [0, 1, 0, 0.2], [0, 0, 1, 0], [0, 0, 0, 1]])),
}


def _inner_mask():
    """Without voxels at the border, where nilearn loses the outer half of a voxel."""
    mask = np.zeros(SHAPE, bool)
    mask[1:-1, 1:-1, 1:-1] = np.random.default_rng(3).random((3, 2, 4)) < 0.7
    return mask


@pytest.mark.parametrize("name", OTHER_GRIDS)
def test_a_mask_on_another_grid_is_resampled_as_nilearn_does(name):
    image_module = pytest.importorskip("nilearn.image")
    shape, to_mask = OTHER_GRIDS[name]
    mask_img = _image(_inner_mask().astype(np.uint8))
    grid = Grid(shape, AFFINE @ to_mask)
    with pytest.warns(UserWarning, match="mask_img is on another grid than imgs and is resampled") as caught:
        ours = mask_on_grid(load_mask(mask_img, "mask_img"), grid)
    assert str(Grid(SHAPE, AFFINE)) in str(caught[0].message)
    assert str(grid) in str(caught[0].message)
    assert len(caught) == 1
    target = nib.Nifti1Image(np.zeros(shape), grid.affine)
    theirs = image_module.resample_to_img(
        mask_img, target, interpolation="nearest", force_resample=True, copy_header=True
    )
    np.testing.assert_array_equal(ours, theirs.get_fdata() > 0)
    assert 0 < ours.sum() < ours.size


@pytest.mark.parametrize("name", OTHER_GRIDS)
def test_a_resampled_mask_is_the_nearest_voxel_everywhere(name):
    shape, to_mask = OTHER_GRIDS[name]
    with pytest.warns(UserWarning, match="another grid"):
        ours = mask_on_grid(load_mask(_image(_mask().astype(np.uint8)), "mask_img"), Grid(shape, AFFINE @ to_mask))
    expected = np.zeros(shape, bool)
    for voxel in np.ndindex(*shape):
        nearest = np.floor(to_mask[:3, :3] @ voxel + to_mask[:3, 3] + 0.5).astype(int)
        inside = ((nearest >= 0) & (nearest < SHAPE)).all()
        expected[voxel] = inside and _mask()[tuple(nearest)]
    np.testing.assert_array_equal(ours, expected)


def test_a_cropped_mask_loses_no_voxel(tmp_path):
    # The same lattice, but the header was rounded to float32: the first slices lie at -1e-6, not at 0.
    cropped = AFFINE @ nib.affines.from_matvec(np.eye(3), [1, 1, 1])
    cropped[:3, :3] /= 3
    whole = cropped @ nib.affines.from_matvec(np.eye(3), [-2, -3, -1])
    mask_img = nib.load(_save(_image(np.ones(SHAPE, np.uint8), cropped), tmp_path / "mask.nii"))
    with pytest.warns(UserWarning, match="another grid"):
        ours = mask_on_grid(load_mask(mask_img, "mask_img"), Grid((9, 9, 9), whole))
    expected = np.zeros((9, 9, 9), bool)
    expected[2:7, 3:7, 1:7] = True
    np.testing.assert_array_equal(ours, expected)


def test_a_mask_beside_the_images_is_an_error():
    far = AFFINE.copy()
    far[:3, 3] += 1000
    with (
        pytest.warns(UserWarning, match="another grid"),
        pytest.raises(ValueError, match=r"does not overlap imgs.*origin \(10, .*origin \(1010, "),
    ):
        mask_on_grid(load_mask(_image(_mask().astype(np.uint8)), "mask_img"), Grid(SHAPE, far))


def test_centres_of_another_grid_are_where_they_are_in_mm():
    half = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    data = np.zeros((10, 8, 12), np.uint8)
    data[2, 4, 6] = data[3, 4, 7] = 1
    centres = centres_on_grid(load_mask(_image(data, half), "process_mask_img"), Grid(SHAPE, AFFINE))
    np.testing.assert_allclose(centres, [[1, 2, 3], [1.5, 2, 3.5]], atol=1e-12)
    assert (centres[0] == [1, 2, 3]).all()  # to the last bit: it lies on the lattice of the images


def test_a_map_keeps_every_bit_of_its_values(tmp_path):
    values = np.random.default_rng(0).standard_normal(int(_mask().sum()))
    back = nib.load(_save(map_image(values, _mask(), AFFINE), tmp_path / "map.nii.gz"))
    np.testing.assert_array_equal(back.get_fdata()[_mask()], values)
    assert (back.get_fdata()[~_mask()] == 0).all()
    np.testing.assert_allclose(back.affine, AFFINE, rtol=1e-6)


def test_other_formats_of_nibabel_are_images_too(tmp_path):
    data = _integers().astype(np.float32)
    path = _save(nib.MGHImage(data, AFFINE), tmp_path / "bold.mgz")
    assert open_image(path, "imgs").shape == data.shape
    np.testing.assert_array_equal(_read(path), data[_mask()])


def test_a_copy_of_a_file_is_the_same_series(tmp_path):
    path = _save(_image(_integers().astype(np.int16)), tmp_path / "bold.nii")
    with open(path, "rb") as source, gzip.open(tmp_path / "copy.nii.gz", "wb") as target:
        shutil.copyfileobj(source, target)
    np.testing.assert_array_equal(_read(path), _read(tmp_path / "copy.nii.gz"))


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_image_in_memory_is_read_in_the_order_in_which_it_lies(order):
    data = np.random.default_rng(0).standard_normal((*_mask().shape, N)).astype(np.float32)
    image = nib.Nifti1Image(np.array(data, order=order), np.eye(4))
    keep = np.arange(N) % 2 == 0
    np.testing.assert_array_equal(Series(image).read(_mask(), np.float32), data[_mask()])
    np.testing.assert_array_equal(Series(image).select(keep).read(_mask(), np.float32), data[_mask()][:, keep])
