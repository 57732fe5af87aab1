"""The desk's side of the socket: asks the running gate, and says its answer in words."""

import grp
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gate.core.texts import reason_text
from gate.shell.desk import address

ANSWER_S: Final = 5.0  # the gate answers within a moment; four hanging neighbours cost one second
ANSWER_BYTES_MAX: Final = 65_536


class DeskError(Exception):
    """The gate cannot be asked, or does not do what it was asked; the text says what to do."""


def ask(path: Path, request: Mapping[str, object]) -> dict[str, Any]:
    """Return the answer of the gate that listens at `path`, within a few seconds. Raises DeskError."""
    try:
        answer = _printable(json.loads(_exchange(path, json.dumps(request).encode() + b"\n")))
    except (FileNotFoundError, NotADirectoryError):
        raise DeskError(f"no gate is running here (there is no {path}); start it with: gate run") from None
    except ConnectionRefusedError:
        raise DeskError(f"{path} is left from a gate that has ended; start it again with: gate run") from None
    except PermissionError:
        raise DeskError(_not_allowed(path)) from None
    except (TimeoutError, BlockingIOError):
        raise DeskError(
            "the gate does not answer just now; try again, and look at its log if it lasts"
        ) from None
    except OSError as error:
        raise DeskError(f"{path} cannot be asked: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise DeskError("the gate has ended while it was asked; look at its log") from None
    if not isinstance(answer, dict) or answer.get("ok") is not True:
        problem = answer.get("error") if isinstance(answer, dict) else None
        raise DeskError(str(problem or f"what listens at {path} is no gate"))
    return answer


def _printable(said: Any) -> Any:
    """Return an answer in which nothing steers the terminal: whoever listens there need not be a gate."""
    if isinstance(said, str):
        return "".join(char if char.isprintable() else "?" for char in said)
    if isinstance(said, list):
        return [_printable(each) for each in said]
    if isinstance(said, dict):
        return {name: _printable(each) for name, each in said.items()}
    return said


def _exchange(path: Path, line: bytes) -> bytes:
    answer = b""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(ANSWER_S)
        over_at = time.monotonic() + ANSWER_S
        with address(path) as short:
            channel.connect(short)
        channel.sendall(line)
        while not answer.endswith(b"\n") and len(answer) < ANSWER_BYTES_MAX:
            if (left_s := over_at - time.monotonic()) <= 0:  # whoever sends a byte at a time has no more
                raise TimeoutError
            channel.settimeout(left_s)
            if not (more := channel.recv(ANSWER_BYTES_MAX)):
                break
            answer += more
    return answer


def _not_allowed(path: Path) -> str:
    group = _group_of(path)
    remedy = f"be added to the group {group} (sudo usermod -aG {group} $USER) and log in again"
    return f"you may not talk to this gate; {remedy}"


def _group_of(path: Path) -> str:
    """Return the group of the socket, or of the innermost folder above it that may be looked at."""
    for place in (path, *path.parents):
        try:
            group = place.stat().st_gid
        except OSError:
            continue
        try:
            return grp.getgrgid(group).gr_name
        except KeyError:
            return str(group)
    return "of the service"


_EN: Final = {
    "mode.serving": "The gate is serving.",
    "mode.degraded": "The gate is serving, but a part of it does not work; staff do that part.",
    "mode.suspended": "Service is suspended; staff and residents still pass.",
    "mode.closed_hours": "The gate is closed to visitors at this hour; staff and residents still pass.",
    "mode.fault": "The gate is out of order.",
    "mode.evacuating": "Evacuation: the gate stands open.",
    "state.idle": "Nobody is being checked.",
    "state.collecting": "Visit {visit}: looking at code, temperature and mask.",
    "state.retesting": "Visit {visit}: waiting to measure once more.",
    "state.curing": "Visit {visit}: waiting for the visitor to put something right.",
    "state.with_staff": "Visit {visit}: waiting for you.",
    "state.authorised": "Visit {visit}: may pass, waiting for the arm to turn.",
    "state.farewell": "Visit {visit}: over, waiting for the visitor to leave.",
    "against": "Against a pass:",
    "nothing": "Nothing stands against a pass.",
    "to_take_down": "still to take down: {fields}",
    "comma": ", ",
    "field.name": "name",
    "field.id_number": "ID number",
    "field.household_place": "registered residence",
    "field.residence": "address",
    "field.phone": "phone",
    "field.plate_number": "number plate",
    "field.key_area_contact": "contact with key areas",
    "field.signature": "signature",
    "done.note": "Noted for visit {visit}.",
    "done.register": "Taken down for visit {visit}, sealed for the centre.",
    "done.mask": "Mask noted for visit {visit}.",
    "done.confirm": "Confirmed for visit {visit}.",
    "done.refuse": "Visit {visit} is turned away.",
    "began.note": "Nobody was being checked: a visit begins with this note.",
    "began.register": "Nobody was being checked: a visit begins with what you have taken down.",
    "began.confirm": "Nobody was being checked: a visit begins, and nobody is vouched for yet.",
}
_ZH: Final = {
    "mode.serving": "通道正常服务。",
    "mode.degraded": "通道在服务，但有设备不能工作，这部分由工作人员办理。",
    "mode.suspended": "已暂停对外服务，工作人员和居民仍可通行。",
    "mode.closed_hours": "现在不对来访者开放，工作人员和居民仍可通行。",
    "mode.fault": "通道发生故障，停止使用。",
    "mode.evacuating": "正在疏散，闸门常开。",
    "state.idle": "现在没有人在核验。",
    "state.collecting": "来访 {visit}：正在核验码、体温和口罩。",
    "state.retesting": "来访 {visit}：等待复测体温。",
    "state.curing": "来访 {visit}：等待来访者补正。",
    "state.with_staff": "来访 {visit}：等待您办理。",
    "state.authorised": "来访 {visit}：已放行，等待通过。",
    "state.farewell": "来访 {visit}：已结束，等待来访者离开。",
    "against": "还不能放行，因为：",
    "nothing": "没有不能放行的情况。",
    "to_take_down": "还需登记：{fields}",
    "comma": "、",
    "field.name": "姓名",
    "field.id_number": "身份证号",
    "field.household_place": "户籍地",
    "field.residence": "现住址",
    "field.phone": "电话",
    "field.plate_number": "车牌号",
    "field.key_area_contact": "重点地区接触史",
    "field.signature": "签名",
    "done.note": "已记录到来访 {visit}。",
    "done.register": "已登记到来访 {visit}，并为中心加密封存。",
    "done.mask": "口罩情况已记录到来访 {visit}。",
    "done.confirm": "已确认来访 {visit}。",
    "done.refuse": "来访 {visit} 不予放行。",
    "began.note": "刚才没有人在核验：已随此记录开始新的来访。",
    "began.register": "刚才没有人在核验：已随此登记开始新的来访。",
    "began.confirm": "刚才没有人在核验：已开始新的来访，尚未为任何人确认。",
}
WORDS: Final = {"zh": _ZH, "en": _EN}


def status_lines(answer: Mapping[str, Any], lang: str) -> list[str]:
    """Say the answer to `show`: the gate, the visit, and what stands against a pass, a line each."""
    words, visit, state = WORDS[lang], answer.get("visit"), answer.get("state")
    lines = [words.get(f"mode.{answer.get('mode')}", str(answer.get("mode")))]
    lines.append(words.get(f"state.{state}", f"{state} {{visit}}").format(visit=visit))
    if state in {"idle", "authorised", "farewell"}:
        return lines
    reasons = [reason_text(lang, str(reason)) for reason in answer.get("findings", ())]
    lines += [words["against"], *(f"  {reason}" for reason in reasons)] if reasons else [words["nothing"]]
    fields = [words.get(f"field.{field}", str(field)) for field in answer.get("fields", ())]
    if fields:
        lines.append("  " + words["to_take_down"].format(fields=words["comma"].join(fields)))
    return lines


def done_line(command: str, answer: Mapping[str, Any], lang: str) -> str:
    """Say that the gate has taken what was said; `command` is note, register, mask, confirm or refuse."""
    visit = answer.get("visit")
    return WORDS[lang][f"began.{command}" if visit is None else f"done.{command}"].format(visit=visit)
