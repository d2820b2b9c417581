"""MediaPipe Holistic 0.10.21: pictures in, the 75 points out. Its models come with its wheel; no network is used."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from signatlas.pose import skeleton as sk

if TYPE_CHECKING:
    from mediapipe.framework.calculator_pb2 import CalculatorGraphConfig

NUM_FACE = 478  # face mesh 468, irises 10
DETECTOR = "MediaPipe Holistic 0.10.21, model_complexity 1, static_image_mode off"
GRAPH = "modules/holistic_landmark/holistic_landmark_cpu.binarypb"
FACE_NODES = ("SplitNormalizedLandmarkListCalculator", "FaceLandmarksFromPoseCpu")
CONFIDENCE = {  # those of mediapipe.solutions.holistic.Holistic
    "poselandmarkcpu__posedetectioncpu__TensorsToDetectionsCalculator.min_score_thresh": 0.5,
    "poselandmarkcpu__poselandmarkbyroicpu__tensorstoposelandmarksandsegmentation__ThresholdingCalculator.threshold": 0.5,  # noqa: E501
}
PARTS = (("pose_landmarks", sk.BODY), ("left_hand_landmarks", sk.LEFT_HAND), ("right_hand_landmarks", sk.RIGHT_HAND))


class Detections(NamedTuple):
    """What was found in T frames.

    ``poses`` float32 [T, 75, 3] in image units, NaN for a body or hand that was not found. ``visibility`` float16
    [T, 75]: MediaPipe's estimate for the body, 1 for the points of a hand that was found, 0 where there is no point.
    ``face`` float32 [T, 478, 3] or None.
    """

    poses: np.ndarray
    visibility: np.ndarray
    face: np.ndarray | None


class Holistic:
    """One detector with its models loaded. It follows a person from frame to frame: reset it before every clip.

    The points are those of ``mediapipe.solutions.holistic.Holistic()`` bit for bit. Without ``face`` the part of the
    graph that nothing else depends on, the face mesh, is left out, which saves about a quarter of the work; with it,
    the mesh is the refined one with irises. ``threads`` are the graph's own.
    """

    def __init__(self, face: bool = False, threads: int = 1):
        with _quiet():
            from mediapipe.python.solution_base import SolutionBase

            side: dict[str, Any] = {"model_complexity": 1, "smooth_landmarks": True, "enable_segmentation": False,
                                    "smooth_segmentation": True, "use_prev_landmarks": True}  # fmt: skip
            outputs = [name for name, _ in PARTS]
            if face:
                side["refine_face_landmarks"] = True
                outputs.append("face_landmarks")
            self._graph = SolutionBase(
                graph_config=_graph(face, threads), side_inputs=side, outputs=outputs, calculator_params=CONFIDENCE
            )
            self._loaded()
        self.face = face

    def reset(self) -> None:
        """Forget the person and the smoothing: the next frame is met as a fresh graph would meet it."""
        with _quiet():
            self._graph.reset()
            self._loaded()

    def _loaded(self) -> None:
        """Wait until the graph's threads have loaded their models, and have said all that they have to say."""
        self._graph._graph.wait_until_idle()

    def close(self) -> None:
        """Free the graph."""
        with _quiet():
            self._graph.close()

    def __call__(self, frames: Iterable[np.ndarray]) -> Detections:
        """Detect in the frames of one clip, uint8 RGB [height, width, 3] each; frames are not kept."""
        poses: list[np.ndarray] = []
        visibility: list[np.ndarray] = []
        faces: list[np.ndarray] = []
        for frame in frames:
            with _quiet():
                found = self._graph.process({"image": frame})
            points, seen = _points(found)
            poses.append(points)
            visibility.append(seen)
            if self.face:
                faces.append(_landmarks(found.face_landmarks, NUM_FACE))
        return Detections(
            np.stack(poses) if poses else np.zeros((0, sk.NUM_POINTS, 3), np.float32),
            np.stack(visibility) if poses else np.zeros((0, sk.NUM_POINTS), np.float16),
            (np.stack(faces) if faces else np.zeros((0, NUM_FACE, 3), np.float32)) if self.face else None,
        )


def _graph(face: bool, threads: int) -> CalculatorGraphConfig:
    """The solution's own graph, less the face unless it is wanted: neither body nor hands take anything from it."""
    import mediapipe
    from mediapipe.framework.calculator_pb2 import CalculatorGraphConfig

    config = CalculatorGraphConfig()
    config.ParseFromString((Path(mediapipe.__file__).parent / GRAPH).read_bytes())
    config.num_threads = threads
    if not face:
        for node in [node for node in config.node if node.calculator in FACE_NODES]:
            config.node.remove(node)
        config.output_stream.remove("FACE_LANDMARKS:face_landmarks")
        config.input_side_packet.remove("REFINE_FACE_LANDMARKS:refine_face_landmarks")
    return config


def _points(found: Any) -> tuple[np.ndarray, np.ndarray]:
    """MediaPipe's x and y are shares of the picture. Its z has roughly the scale of x, says its documentation: for the
    body from the middle of the hips, for a hand from that hand's wrist, for the face from the head's center."""
    points = np.full((sk.NUM_POINTS, 3), np.nan, np.float32)
    seen = np.zeros(sk.NUM_POINTS, np.float16)
    for name, part in PARTS:
        landmarks = getattr(found, name)
        if landmarks is None:
            continue
        points[part] = _landmarks(landmarks, part.stop - part.start)
        seen[part] = [p.visibility for p in landmarks.landmark] if part is sk.BODY else 1.0
    return points, seen


def _landmarks(landmarks: Any, number: int) -> np.ndarray:
    """float32 [number, 3]; NaN when there are none."""
    if landmarks is None:
        return np.full((number, 3), np.nan, np.float32)
    return np.array([(p.x, p.y, p.z) for p in landmarks.landmark], np.float32)


class _Silence:
    """How many threads are inside MediaPipe, and where stderr leads meanwhile."""

    lock = threading.Lock()
    inside = 0
    stderr = -1


@contextmanager
def _quiet() -> Iterator[None]:
    """MediaPipe's and TensorFlow Lite's C++ warn on stderr for every model of every clip, and no setting stops them."""
    with _Silence.lock:
        if _Silence.inside == 0:
            _Silence.stderr = os.dup(2)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        _Silence.inside += 1
    try:
        yield
    finally:
        with _Silence.lock:
            _Silence.inside -= 1
            if _Silence.inside == 0:
                os.dup2(_Silence.stderr, 2)
                os.close(_Silence.stderr)
