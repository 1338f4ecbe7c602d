"""How a network learns: the algorithm, its losses and schedules; one object for both sides."""

from gmmdyn.algorithm.losses import Loss as Loss
from gmmdyn.algorithm.online_sgd import OnlineSGD as OnlineSGD
from gmmdyn.algorithm.schedule import Schedule as Schedule
