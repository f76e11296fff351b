"""probebench: how good are the features of a frozen backbone, at which tap and at which noise level?"""

__version__ = "0.1.0"
