"""The fan-out of the hub: one message for many clients, at the rate of each."""

from api.hub.fanout.engine import Fanout, Rooms
from api.hub.fanout.slots import RATES, granted

__all__ = ["RATES", "Fanout", "Rooms", "granted"]
