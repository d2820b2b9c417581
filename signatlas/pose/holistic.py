"""Detect the 75 points in images with MediaPipe Holistic 0.10.21; its models are in its wheel, no network is used."""

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
CONFIDENCE = {  # the defaults of mediapipe.solutions.holistic.Holistic
    "poselandmarkcpu__posedetectioncpu__TensorsToDetectionsCalculator.min_score_thresh": 0.5,
    "poselandmarkcpu__poselandmarkbyroicpu__tensorstoposelandmarksandsegmentation__ThresholdingCalculator.threshold": 0.5,  # noqa: E501
}
PARTS = (("pose_landmarks", sk.BODY), ("left_hand_landmarks", sk.LEFT_HAND), ("right_hand_landmarks", sk.RIGHT_HAND))


class Detections(NamedTuple):
    """The points of T frames.

    ``poses`` float32 [T, 75, 3] in image units, NaN for a body or hand that was not detected. ``visibility`` float16
    [T, 75]: MediaPipe's estimate for the body, 1 for the points of a detected hand, 0 for missing points. ``face``
    float32 [T, 478, 3] or None.
    """

    poses: np.ndarray
    visibility: np.ndarray
    face: np.ndarray | None


class Holistic:
    """A detector with its models loaded. It tracks a person from frame to frame: reset it before each clip.

    The points are bit-identical to those of ``mediapipe.solutions.holistic.Holistic()``. Without ``face`` the face mesh
    is removed from the graph, since body and hands do not depend on it, which saves about a quarter of the time. With
    ``face`` the mesh is the refined one with irises. ``threads`` is the number of threads of the graph.
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
            self._wait_until_loaded()
        self.face = face

    def reset(self) -> None:
        """Reset tracking and smoothing, so that the next frame is processed as by a new detector."""
        with _quiet():
            self._graph.reset()
            self._wait_until_loaded()

    def _wait_until_loaded(self) -> None:
        """Wait until the threads of the graph have loaded their models and written their warnings."""
        self._graph._graph.wait_until_idle()

    def close(self) -> None:
        """Free the graph."""
        with _quiet():
            self._graph.close()

    def __call__(self, frames: Iterable[np.ndarray]) -> Detections:
        """Return the detections in the frames of one clip, uint8 RGB [height, width, 3] each; frames are not kept."""
        poses: list[np.ndarray] = []
        visibility: list[np.ndarray] = []
        faces: list[np.ndarray] = []
        for frame in frames:
            with _quiet():
                result = self._graph.process({"image": frame})
            points, scores = _points(result)
            poses.append(points)
            visibility.append(scores)
            if self.face:
                faces.append(_landmarks(result.face_landmarks, NUM_FACE))
        return Detections(
            np.stack(poses) if poses else np.zeros((0, sk.NUM_POINTS, 3), np.float32),
            np.stack(visibility) if poses else np.zeros((0, sk.NUM_POINTS), np.float16),
            (np.stack(faces) if faces else np.zeros((0, NUM_FACE, 3), np.float32)) if self.face else None,
        )


def _graph(face: bool, threads: int) -> CalculatorGraphConfig:
    """Return the graph of the solution, without the face mesh unless ``face``."""
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


def _points(result: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return points [75, 3] and visibility [75] of one frame.

    x and y of MediaPipe are shares of the image size. According to its documentation z has roughly the scale of x; its
    origin is the midpoint of the hips for the body, the wrist for a hand, and the center of the head for the face.
    """
    points = np.full((sk.NUM_POINTS, 3), np.nan, np.float32)
    visibility = np.zeros(sk.NUM_POINTS, np.float16)
    for name, part in PARTS:
        landmarks = getattr(result, name)
        if landmarks is None:
            continue
        points[part] = _landmarks(landmarks, part.stop - part.start)
        visibility[part] = [p.visibility for p in landmarks.landmark] if part is sk.BODY else 1.0
    return points, visibility


def _landmarks(landmarks: Any, number: int) -> np.ndarray:
    """Return the landmarks as float32 [number, 3], NaN without any."""
    if landmarks is None:
        return np.full((number, 3), np.nan, np.float32)
    return np.array([(p.x, p.y, p.z) for p in landmarks.landmark], np.float32)


class _Silence:
    """The number of threads inside MediaPipe, and a duplicate of stderr to restore after the last one leaves."""

    lock = threading.Lock()
    inside = 0
    stderr = -1


@contextmanager
def _quiet() -> Iterator[None]:
    """Redirect stderr to /dev/null: MediaPipe and TensorFlow Lite print C++ warnings that no setting disables."""
    with _Silence.lock:
        if _Silence.inside == 0:
            _Silence.stderr = os.dup(2)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            os.close(null)
        _Silence.inside += 1
    try:
        yield
    finally:
        with _Silence.lock:
            _Silence.inside -= 1
            if _Silence.inside == 0:
                os.dup2(_Silence.stderr, 2)
                os.close(_Silence.stderr)
