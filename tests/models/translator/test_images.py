"""Images of videos as inputs: location, choice of frames, cropping and augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from signatlas.corpus.format import Clip, Corpus, CorpusInfo, write_corpus
from signatlas.errors import FeatureError, MediaError
from signatlas.models.translator.config import BackboneConfig, ResNetSizes, SignEmbeddingConfig
from signatlas.models.translator.images import ImageTransform, find_recordings, read_images
from signatlas.models.translator.inputs import SignInputs, prepare_video
from signatlas.models.translator.sign_embedding import SignEmbedding

SIZES = ResNetSizes(embedding=4, hidden=(4, 8), depths=(1, 1))
RESNET = BackboneConfig(kind="resnet", sizes=SIZES, size=32, max_frames=8)


@pytest.fixture(scope="module")
def corpus(small_corpus) -> Corpus:
    return Corpus.open(small_corpus)


def levels(x: np.ndarray) -> list[int]:
    """Return the frame numbers of a test video, from its gray levels."""
    return [round((float(image.mean()) - 16) / 4) for image in x]


def test_videos_and_image_folders_match_the_last_parts_of_ids(corpus, film, tmp_path):
    from PIL import Image

    ids = [row["id"] for row in corpus.metadata()]
    whole, last, folder = ids[0], ids[1], ids[2]
    (tmp_path / whole).parent.mkdir(parents=True)
    film(tmp_path / f"{whole}.mp4")
    film(tmp_path / f"{whole.rsplit('/', 1)[1]}.mp4", frames=3)  # the longer name is preferred
    film(tmp_path / f"{last.rsplit('/', 1)[1]}.mkv", frames=5)
    frames = tmp_path.joinpath(*folder.split("/")[-2:])
    frames.mkdir(parents=True)
    for number in (2, 10, 9):
        Image.fromarray(np.full((40, 50, 3), 16 + 4 * number, np.uint8)).save(frames / f"{number}.png")
    recordings = dict(find_recordings(tmp_path, ids))
    assert set(recordings) == {whole, last, folder}
    inputs = SignInputs.open(RESNET, corpus, frames=str(tmp_path))
    assert inputs.ids == [whole, last, folder] and ids[3] not in inputs
    x, mask = inputs.batch([folder, whole, last])
    assert x.shape == (3, 8, 3, 32, 32) and x.dtype == np.uint8 and mask.sum(1).tolist() == [3, 8, 5]
    assert levels(x[0, :3]) == [2, 9, 10]
    assert levels(x[1]) == np.linspace(0, 29, 8).round().astype(int).tolist(), "evenly spread from first to last"
    assert levels(x[2, :5]) == [0, 1, 2, 3, 4]
    model = SignEmbedding(SignEmbeddingConfig(backbone=RESNET, width=16)).eval()
    tokens, token_mask = model(torch.from_numpy(x), torch.from_numpy(mask))
    assert tokens.isfinite().all() and token_mask.sum(1).tolist() == [1, 2, 2]


def test_errors_of_missing_and_damaged_videos_name_clip_and_file(corpus, film, tmp_path):
    with pytest.raises(FeatureError, match=r"data\.frames"):
        SignInputs.open(RESNET, corpus)
    with pytest.raises(FeatureError, match="is not a folder"):
        SignInputs.open(RESNET, corpus, frames=str(tmp_path / "none"))
    with pytest.raises(FeatureError, match="contains no video"):
        SignInputs.open(RESNET, corpus, frames=str(tmp_path))
    ids = [row["id"] for row in corpus.metadata()][:2]
    names = [id.rsplit("/", 1)[1] for id in ids]
    film(tmp_path / f"{names[0]}.mp4")
    (tmp_path / f"{names[1]}.mp4").write_bytes(b"no video at all" * 50)
    inputs = SignInputs.open(RESNET, corpus, frames=str(tmp_path))
    with pytest.raises(FeatureError, match=f"clip {ids[1]}: .*{names[1]}.mp4") as error:
        inputs.batch(ids)
    assert "\n" not in str(error.value)
    with pytest.raises(FeatureError, match="has no inputs"):
        inputs.batch([corpus.metadata()[5]["id"]])
    with pytest.raises(MediaError):
        prepare_video(RESNET, tmp_path / f"{names[1]}.mp4")


def test_the_center_of_the_resized_image_is_cropped():
    """An image of 60 x 120: the short side becomes 37, of which 32 are kept."""
    x = np.broadcast_to(np.arange(120, dtype=np.uint8)[None, :, None], (60, 120, 3))
    square = ImageTransform(32, None)(np.ascontiguousarray(x))
    assert square.shape == (3, 32, 32) and square.dtype == np.uint8
    row = square[0, 16].astype(float)
    assert row.mean() == pytest.approx(59.5, abs=1.5), "centered"
    assert row[-1] - row[0] == pytest.approx(31 * 60 / 37, abs=2), "proportions are kept"
    assert (np.diff(row) > 0).all(), "not mirrored"


def test_augmentation_depends_on_seed_epoch_and_clip_only(corpus, tmp_path):
    from PIL import Image

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    ids = [row["id"] for row in corpus.metadata()][:3]
    for id in ids:
        folder = tmp_path / id.rsplit("/", 1)[1]
        folder.mkdir()
        for number in range(6):
            noise.save(folder / f"{number}.png")
    inputs = SignInputs.open(RESNET, corpus, frames=str(tmp_path))
    first, _ = inputs.batch(ids, epoch=0)
    np.testing.assert_array_equal(inputs.batch(ids[::-1], epoch=0)[0][::-1], first)
    several = SignInputs.open(RESNET, corpus, frames=str(tmp_path), readers=3)
    np.testing.assert_array_equal(several.batch(ids, epoch=0)[0], first, "for any number of threads")
    with pytest.raises(FeatureError, match="clip nobody has no inputs"):
        several.batch([ids[0], "nobody"])
    plain, _ = inputs.batch(ids)
    np.testing.assert_array_equal(plain[0], plain[1])
    differences = [first[0], first[1], inputs.batch(ids, epoch=1)[0][0], inputs.batch(ids, epoch=0, seed=1)[0][0]]
    assert len({x.tobytes() for x in differences}) == 4
    np.testing.assert_array_equal(first[0, 0], first[0, 5], "one draw for all frames of a clip")


def test_augmentations_are_drawn_as_in_the_paper():
    transforms = [ImageTransform(224, np.random.default_rng(seed)) for seed in range(400)]
    angles = [c.angle for c in transforms if c.angle]
    shifts = [c.shift for c in transforms if any(c.shift)]
    assert 160 < len(angles) < 240 and 160 < len(shifts) < 240, "each for half of the clips"
    assert 25 < max(map(abs, angles)) <= 30 and np.abs(shifts).max() == 10
    both = sum(bool(c.angle) and any(c.shift) for c in transforms)
    assert 70 < both < 130, "independent of each other"
    crops = np.array([c.crop for c in transforms])
    assert crops.min() < 0.02 and crops.max() > 0.98


def test_images_are_rotated_and_shifted_but_not_mirrored():
    """A bright spot left of the center moves by the rotation and the shift."""
    image = np.zeros((256, 256, 3), np.uint8)
    image[126:131, 62:67] = 255  # 64 pixels left of the center
    transform = ImageTransform(224, None)
    transform.angle, transform.shift = 30.0, (10, -4)
    square = transform(image)[0]
    rows, columns = np.nonzero(square > 100)
    angle = np.radians(30)
    assert columns.mean() == pytest.approx(112 - 64 * np.cos(angle) + 10, abs=1.5)
    assert rows.mean() == pytest.approx(112 + 64 * np.sin(angle) - 4, abs=1.5), "counter-clockwise"


def test_rendered_clips_go_from_poses_to_tokens(tmp_path):
    """Two clips rendered to video, matched by their ids, through a ResNet: for users without videos."""
    from signatlas.plots.movie import write_movie
    from signatlas.pose import skeleton as sk
    from signatlas.render.frames import iter_rgb_frames

    rng = np.random.default_rng(0)
    clips = []
    for number, frames in enumerate((7, 4)):
        poses = np.full((frames, 75, 3), np.nan, np.float32)
        poses[:, sk.NOSE] = (0.5, 0.2, 0)
        poses[:, [sk.LEFT_SHOULDER, sk.RIGHT_SHOULDER]] = [(0.65, 0.4, 0), (0.35, 0.4, 0)]
        poses[:, sk.RIGHT_HAND] = rng.normal((0.4, 0.5, 0), 0.03, (1, 21, 3))
        clips.append(Clip(f"set/train/{number}", "train", poses, "gsg", "set", fps=25.0, width=512, height=512))
    corpus = write_corpus(tmp_path / "corpus", CorpusInfo("set", "1", "x", "x", ("gsg",)), clips)
    (tmp_path / "films/train").mkdir(parents=True)
    for clip in clips:
        write_movie(tmp_path / "films/train" / f"{clip.id.rsplit('/', 1)[1]}.mp4", iter_rgb_frames(clip), 25.0)
    inputs = SignInputs.open(RESNET, corpus, frames=str(tmp_path / "films"))
    x, mask = inputs.batch(inputs.ids, epoch=0)
    assert mask.sum(1).tolist() == inputs.lengths.tolist() == [7, 4]
    one, _ = prepare_video(RESNET, tmp_path / "films/train/1.mp4")
    np.testing.assert_array_equal(one[0], read_images(tmp_path / "films/train/1.mp4", RESNET))
    model = SignEmbedding(SignEmbeddingConfig(backbone=RESNET, width=16))
    tokens, _ = model(torch.from_numpy(x), torch.from_numpy(mask))
    tokens.sum().backward()
    assert tokens.shape == (2, 2, 16)
