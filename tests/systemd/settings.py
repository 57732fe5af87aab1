"""What is written into /etc/gate for a gate without hardware."""

from tests.brokers import HOST, free_port

SITE, GATE = "county-hall", "north-door"
STATE = "/var/lib/gate"
SCENE = '{"codes": []}'  # nobody holds a phone before the synthetic camera; it needs no OpenCV
HARDWARE = """\
[camera]
source = "synthetic"
path = "/srv/scene.json"
[thermometer]
bus = "simulated"
[pins]
factory = "mock"
relay = 17
passage = 27
fire = 22
beam = 23
green = 24
yellow = 25
red = 26
confirm = 12
refuse = 13
mask_on = 16
mask_off = 19
"""


def gate_toml(port: int = 0, *more: str, site: str = SITE, gate: str = GATE, state_dir: str = STATE) -> str:
    """Return a configuration for simulated hardware: the camera draws what it sees, the bus has one sensor.

    Without a port it looks for its broker where none listens.
    """
    lines = [
        "[gate]",
        f'site = "{site}"',
        f'id = "{gate}"',
        'policy = "township-routine"',
        'lang = "en"',
        f'state_dir = "{state_dir}"',
        'clock = "always_trusted"',
        "trust_files = []",
        "[mqtt]",
        f'host = "{HOST}"',
        f"port = {port or free_port()}",
        HARDWARE,
        *more,
    ]
    return "\n".join(lines) + "\n"
