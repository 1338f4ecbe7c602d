"""Simulation of online SGD with Lightning: the only part of gmmdyn that imports it."""

from gmmdyn.training.chain.engine import ChainEngine as ChainEngine
from gmmdyn.training.dense import DenseEngine as DenseEngine
from gmmdyn.training.distributed import ReplicaStrategy as ReplicaStrategy
from gmmdyn.training.engine import Engine as Engine
from gmmdyn.training.features import FeatureEngine as FeatureEngine
from gmmdyn.training.module import BlockSGD as BlockSGD
from gmmdyn.training.module import OnlineLearning as OnlineLearning
from gmmdyn.training.progress import Progress as Progress
from gmmdyn.training.recorder import Recorder as Recorder
from gmmdyn.training.simulate import simulate as simulate
from gmmdyn.training.stream import BlockStream as BlockStream
from gmmdyn.training.stream import Segment as Segment
