"""What the alarms mean by their codes, and what whoever reads of one does next.

The same stands in docs/centre.md. A gate that has lost its link serves on and loses nothing, which the name
of the class (*missed*) does not make one think: so it is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from central.store.model import Suspicion


class CodeWords(NamedTuple):
    """What was seen, and what to do ("" where nobody knows), in Chinese and English."""

    zh: str
    en: str
    to_do_zh: str = ""
    to_do_en: str = ""


_KEEPS_ZH: Final = "断网的闸机照常工作并保存记录，恢复后自动补传"
_KEEPS_EN: Final = "a gate that only lacks its link serves on and sends all later"
_REGISTER: Final = (
    "确是本单位未撤销的闸机：在闸机上运行 gate identity，核对后 central gates add",
    "if it is one of yours and was not shut out: gate identity there, central gates add here",
)
_WHO_SIGNS: Final = ("查明何人在签名", "find out who signs")
_ASK_WHO: Final = (
    "疑恢复或更换过存储卡，询问经办人；已证实的在中心完好，其余见 gate doctor；然后 central alarms clear",
    "an old card? Ask who did it; what is proved is safe, gate doctor has the rest; central alarms clear",
)

ONLY_DOUBTFUL: Final = frozenset({"unknown_gate", "unknown_key", "key_waits", "clock"})
"""Alarms of the class *false* that accuse nobody: a gate that is not registered yet, a clock to be set."""

CODES: Final[Mapping[str, CodeWords]] = {
    "altered": CodeWords(
        "已证实的记录内容不符", "other bytes for a proved record",
        "两份均已留存，检查该闸机", "both are kept; examine the gate",
    ),
    "checkpoint_differs": CodeWords(
        "签名检查点与记录不符", "a signed checkpoint and the records disagree",
        "稍候一分钟；仍不解除则检查该闸机是否恢复过旧卡，然后 central alarms clear",
        "wait a minute; if it stays: was an old card put back? Examine the gate, then: central alarms clear",
    ),
    "bad_signature": CodeWords(
        "检查点签名无效", "a checkpoint without a valid signature", *_WHO_SIGNS
    ),
    "unknown_gate": CodeWords(
        "闸机未登记，或密钥已撤销", "records of a gate that is not registered, or was shut out", *_REGISTER
    ),
    "unknown_key": CodeWords("密钥未登记", "a key that is not registered", *_REGISTER),
    "revoked_key": CodeWords("密钥已撤销", "a key that was revoked", *_WHO_SIGNS),
    "key_waits": CodeWords(
        "密钥待批准", "a key that a person has to allow: a card was made anew, moved or copied",
        "central enrol list，查明是哪台设备，然后 central enrol allow 或 refuse",
        "central enrol list; find out which device it is, then: central enrol allow, or refuse",
    ),
    "went_back": CodeWords("记录数倒退", "fewer records than before", *_ASK_WHO),
    "unannounced_epoch": CodeWords(
        "未说明原因另起台账", "a new ledger without a reason",
        "询问原因，然后 central alarms clear", "ask for the reason, then: central alarms clear",
    ),
    "cut_tail": CodeWords("台账尾部缺失", "the end of a ledger was cut off", *_ASK_WHO),
    "old_epoch_goes_on": CodeWords(
        "旧台账仍在增长，疑有两台设备", "an old ledger goes on: two devices",
        "找出第二台设备，central gates revoke", "find the second one; central gates revoke",
    ),
    "late": CodeWords(
        "记录迟迟未证实", "records that are not proved here",
        f"检查闸机到中心的网络和消息代理；{_KEEPS_ZH}",
        f"see to the network and the broker between; {_KEEPS_EN}",
    ),
    "hole": CodeWords(
        "记录缺号", "a hole among the records",
        "中心已要求重传，仍缺则 central command resend",
        "asked for already; if it stays: central command resend",
    ),
    "silent": CodeWords(
        "闸机无消息", "the gate is silent",
        f"到现场检查电源、网络和证书；{_KEEPS_ZH}",
        f"see to its power, network and certificate; {_KEEPS_EN}",
    ),
    "lost": CodeWords(
        "闸机断线", "the gate's connection is broken",
        f"检查网络和电源；{_KEEPS_ZH}，警报自行解除",
        f"see to its network and power; {_KEEPS_EN}, and the alarm ends by itself",
    ),
    "fault": CodeWords(
        "闸机自报故障", "the gate says that it is in fault",
        "派人值守入口，在闸机上运行 gate doctor", "put somebody at the entrance; gate doctor there says why",
    ),
    "clock": CodeWords(
        "闸机时钟偏差", "the clock of the gate is off", "校准闸机的时间源", "set its time source right"
    ),
    "report_late": CodeWords(
        "日报迟报或缺报", "the daily report is late or absent",
        "查看中心日志；补做的日报会注明迟报", "look at the centre's log; it is made late, and says so",
    ),
    "command_unanswered": CodeWords(
        "指令未答复", "a command that was never answered",
        "查看 central commands；到现场检查", "see: central commands; then go there",
    ),
}  # fmt: skip


def in_words(about: Suspicion) -> str:
    """Return in one line what an alarm is about: class, code, place, records, words."""
    where = "/".join(part for part in (about.site, about.gate) if part)
    ledger = f" ledger {about.epoch}" if about.epoch else ""
    ends = [f"{end:,}" for end in dict.fromkeys((about.first, about.last)) if end is not None]
    records = f" records {'-'.join(ends)}" if ends else ""
    return f"{about.kind}/{about.code}  {where}{ledger}{records}: {code_words(about.code).en}"


def code_words(code: str) -> CodeWords:
    """Return the words for an alarm's code; the code itself where nobody knows."""
    return CODES.get(code, CodeWords(code, code))
