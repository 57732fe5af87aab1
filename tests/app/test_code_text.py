"""How the bytes of a code are shown to people."""

import pytest

from gate.app.pictures import code_text

CHINESE = [
    "健康码",
    "请出示健康码，谢谢",
    "朱镕基",
    "张三 13800000000",
    "浙江省政务服务",
    "喆",
    "李四，女",
]
JAPANESE = ["今度のバージョンでは文章の暗号化ができます。", "ﾃﾞｻﾞｲﾝQR\r\nhttp://d-qr.net/ex/", "*ﾃﾞｻﾞｲﾝQR*"]


@pytest.mark.parametrize("text", [*CHINESE, *JAPANESE, "HG1:ABC", "naïve ✓", ""])
def test_utf8_comes_first(text: str) -> None:
    assert code_text(text.encode()) == text


@pytest.mark.parametrize("text", CHINESE)
def test_chinese_without_a_label_is_gb18030(text: str) -> None:
    assert code_text(text.encode("gb18030")) == text


@pytest.mark.parametrize("text", JAPANESE)
def test_japanese_without_a_label_is_shift_jis(text: str) -> None:
    assert code_text(text.encode("shift_jis")) == text


def test_bytes_that_are_no_text_are_shown_with_marks() -> None:
    assert "\ufffd" in code_text(bytes(range(0x80, 0x100)))
