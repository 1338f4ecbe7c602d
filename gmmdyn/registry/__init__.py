"""The components that plugins provide: their hooks, the look-up by name, and how they are built."""

from gmmdyn.registry.plugins import GROUP as GROUP
from gmmdyn.registry.plugins import KINDS as KINDS
from gmmdyn.registry.plugins import Kind as Kind
from gmmdyn.registry.plugins import Plugin as Plugin
from gmmdyn.registry.plugins import Registration as Registration
from gmmdyn.registry.plugins import available as available
from gmmdyn.registry.plugins import build as build
from gmmdyn.registry.plugins import collect as collect
from gmmdyn.registry.plugins import discover as discover
from gmmdyn.registry.plugins import get as get
from gmmdyn.registry.plugins import options_of as options_of
from gmmdyn.registry.plugins import registrations as registrations
