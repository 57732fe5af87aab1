"""Chinese for the sentences that a gate writes into its records in English.

A gate is put right by what its driver saw, told in English (`central export`, `gate doctor`); who reads a
report in Chinese is told what a table here knows, and else which record says more.
"""

import re
from collections.abc import Mapping
from typing import Final

_SENTENCES: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), zh)
    for pattern, zh in (
        (r"first start", "首次启动"),
        (r"the centre holds more records than this ledger has", "中心的记录多于本台账"),
        (r"the centre holds another record in that place", "中心在该处的记录与本台账不同"),
        (r"the centre knows another ledger", "中心所知的是另一台账"),
        (r"(\d+) records were lost while the ledger failed", "台账故障期间丢失 {} 条记录"),
        (r"(\d+) inputs lost", "丢失 {} 条输入"),
        (r"from record (\d+) to record (\d+)", "从第 {} 号记录退到第 {} 号"),
        (r"record (\d+)", "第 {} 号记录"),
    )
)
"""What the gate itself says, whole (`gate.core.actor`, `gate.sinks.receipts`)."""

_BEGINNINGS: Final[Mapping[str, str]] = {
    "no permission": "没有访问权限",
    "no such device": "没有此设备",
    "no such I2C bus": "没有此 I2C 总线",
    "this is no I2C bus": "不是 I2C 总线",
    "the bus hangs": "总线无响应",
    "bus_error": "总线无应答",
    "pec_error": "数据校验错误",
    "sensor_error": "传感器报错",
    "timeout": "超时无应答",
    "unreachable": "无法连接",
    "error": "答复出错",
    "frozen": "读数不再变化",
    "not_available": "不可用",
    "no_answer": "无应答",
    "no answer": "无应答",
    "no echo": "无回波",
    "does not answer": "无应答",
    "answers are spoiled": "应答数据损坏",
    "object and ambient are one": "读数异常",
    "gives no more frames": "不再输出画面",
    "opens but gives no frame": "能打开但没有画面",
    "frames of the shape": "画面格式不符",
    "no usable scene": "画面不可用",
    "cannot be opened": "无法打开",
    "cannot be started": "无法启动",
    "unplugged": "已拔出",
    "gone": "已断开",
    "nothing would end a pulse": "开闸脉冲无法结束",
    "it has been closed": "已关闭",
    "they have been closed": "已关闭",
    "does not end": "无法结束",
    "the library": "缺少程序库",
    "OpenCV is not installed": "缺少程序库",
    "picamera2 is not installed": "缺少程序库",
}
"""How the problems of the drivers begin; behind that stands what to do, for whoever is at the gate."""

_CHINESE: Final = re.compile("[\u4e00-\u9fff]")


def in_chinese(text: str) -> str:
    """Return the sentence in Chinese, itself if it has Chinese in it, "" where there are no words for it."""
    if _CHINESE.search(text):
        return text
    for pattern, zh in _SENTENCES:
        found = pattern.fullmatch(text)
        if found is not None:
            return zh.format(*found.groups())
    known = (zh for beginning, zh in _BEGINNINGS.items() if text.startswith(beginning))
    return next(known, "") or _in_parts(text)


def _in_parts(text: str) -> str:
    """Tell what stands on both sides of a colon, if there are words for both."""
    before, colon, after = text.partition(": ")
    parts = [in_chinese(before), in_chinese(after)] if colon else []
    return "，".join(parts) if parts and all(parts) else ""
