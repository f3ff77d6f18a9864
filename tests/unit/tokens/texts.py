"""Texts of many kinds, for comparing counts."""

# ruff: noqa: RUF001 (texts as people write them)

from __future__ import annotations

import base64
import json
from pathlib import Path

TEXTS: dict[str, str] = {
    "nothing": "",
    "a letter": "a",
    "a space": " ",
    "a line's end": "\n",
    "English": "tiktoken is great!",
    "a paragraph": "New synergies will help drive top-line growth.\n\nLet's circle back when we've more time; don't?",
    "long English": "The quick brown fox jumps over the lazy dog. " * 400,
    "one letter": "x" * 3000,
    "a word of many": "supercalifragilisticexpialidocious" * 40,
    "capitals": "HTTPServerError: SHOUTING AtMixedCASE iPhone McDonald",
    "German": "Die Straßenbahn fährt über die Brücke, ä ö ü ß, Donaudampfschifffahrtsgesellschaft.",
    "French": "L'été dernier, j'ai mangé des crêpes à l'Île-de-Bréhat… c'était délicieux !",
    "Russian": "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Greek": "Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία.",
    "Chinese": "你好，世界！今天天气怎么样？我想知道北京和上海的天气。",
    "long Chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。" * 150,
    "Chinese without a stop": "的一是在不了有和人这中大为上个国我以要他" * 300,
    "Chinese and English": "请用Python写一个quick sort函数，并解释时间复杂度O(n log n)。",
    "Japanese": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "Arabic": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "emoji": "Great job! 🎉🎉 👍🏽 I ❤️ it 😀😃😄",
    "emoji that are joined": "👨‍👩‍👧‍👦 🏳️‍🌈 👩🏾‍💻 🇨🇳🇩🇪" * 20,
    "many emoji": "😀🎉👍🚀" * 1500,
    "marks": "Z̷̢̛͓͎a̴l̵g̶o̷ text, e\u0301 and \u00e9",
    "digits": "3.14159265358979323846, 2026-10-17, 1,000,000 and ١٢٣ ½ Ⅷ",
    "code": "def fib(n: int) -> int:\n    if n < 2:\n        return n\n\treturn fib(n - 1) + fib(n-2)  # naïve\n",
    "this file": Path(__file__).read_text(),
    "JSON": json.dumps({"a": [1, 2.5, None, True], "键": "值\n", "path": "C:\\x"}, indent=2),
    "HTML": "<div class='x'>\r\n  <a href=\"https://example.com/?q=1&amp;r=2\">link</a>\r\n</div>\r\n",
    "base64": base64.b64encode(bytes(range(256)) * 30).decode(),
    "spaces": "a" + " " * 500 + "b" + "\t" * 30 + "c \u00a0\u3000\u2003 d",
    "empty lines": "a\n\n\n \n\t\n   \nb" + "\n" * 400 + "c",
    "slashes": "/usr/local/bin//x\n/\n// comment\r\n/* y */",
    "apostrophes": "I'LL can't won't 'quoted' ''' it's John's 'S 'ſ rock'n'roll",
    "special tokens": "<|endoftext|> and <|im_start|>system<|im_end|> <|endofprompt|>",
    "control characters": "\x00\x01\x1b[31mred\x1b[0m\x7f\u200b\ufeff\u2028\x85",
}
"""By what they are."""
