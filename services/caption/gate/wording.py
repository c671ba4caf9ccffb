"""Texts that do not describe the image: refusals, comments and repeated instructions.

The phrases are English and are matched only against captions that may be English. A repeated
question is recognised in every language. All checks look at the model's own words, never at text
that it quotes from the image: a shop's door may say "Sorry, I can't help you".
"""

from __future__ import annotations

import re

from services.caption.gate.candidate import Candidate, sentences_of
from services.caption.gate.language import may_be_english
from services.caption.gate.words import LETTERS_PER_WORD, without_blanks, words_of

_IMAGE = r"(?:image|image|photo|photograph|scene|screenshot)s?"
_SEEING = (
    r"(?:see|view|assist|help|identify|describe|provide|process|access|analy[sz]e|determine|"
    r"generate|comply|fulfil+|recogni[sz]e|discern|interpret|open|display)"
)
_REFUSAL = re.compile(
    r"\bI(?:'m| am) (?:so |very |really )?(?:sorry|unable|not able|afraid|just an AI)\b"
    r"|^(?:sorry|apologies|unfortunately)\b,? .*\b(?:can't|cannot|unable|not able)\b"
    r"|\bI (?:can ?not|can't|could not|couldn't|won't|will not|do not|don't)"
    rf"(?: \w+){{0,2}} (?:{_SEEING}|have (?:access|the (?:ability|capability)))\b"
    r"|\bunable to (?:assist|provide|process|comply|access|generate)\b"
    rf"|\bunable to (?:see|view|open) (?:the|this|any) {_IMAGE}\b"
    r"|\bas an? (?:AI|artificial intelligence|(?:large |visual |vision |text-based |multimodal )*"
    r"(?:language|vision)[ -]model)\b"
    rf"|\bno {_IMAGE} (?:is |was |has been |were )?(?:provided|attached|uploaded|available)\b"
    rf"|\bplease (?:provide|upload|share|attach|send)(?: \w+){{0,4}} {_IMAGE}\b"
    rf"|\b{_IMAGE} (?:could|can) ?not be (?:loaded|displayed|processed|opened)\b"
    r"|\b(?:against|violates?) (?:my|our|the) (?:\w+ )?(?:guidelines|polic(?:y|ies))\b",
    re.IGNORECASE | re.MULTILINE,
)


def refusal(candidate: Candidate) -> bool:
    """Whether the model says that it cannot or will not answer."""
    return may_be_english(candidate) and bool(_REFUSAL.search(candidate.own_words))


_PRINT = r"(?:text|texts|words?|letters?|numbers?|writing|captions?|content|information|details?)"
_IN_IMAGE = rf"(?:in |on |within )?(?:the|this) (?:\w+ )?{_IMAGE}"
_HAS_NOT = re.compile(
    rf"^(?:{_IN_IMAGE},? |it |there )?"
    r"(?:do not|does not|doesn't|don't|is not|isn't|are not|aren't) (?:appear to |seem to )?"
    r"(?:be |contain |have |include |show |feature |display |depict |provide )?"
    r"(?:any|enough|text|an? (?:visible|readable|legible))\b",
    re.IGNORECASE,
)
_HAS_NONE = re.compile(
    rf"^(?:{_IN_IMAGE},? )?"
    r"(?:there(?: is| are|'s| appears to be| seems to be) |(?:has|contains|shows|includes) |"
    r"I (?:can't|cannot|don't|do not|can) see )?"
    rf"(?:nothing|(?:no|any|not any|without)(?: \w+){{0,3}} {_PRINT})"
    r"(?: (?:is |are |can be )?"
    r"(?:visible|present|shown|found|detected|to (?:read|describe|report)))?"
    rf"(?: {_IN_IMAGE})?[.!]*$"
    r"|^(?:none|n/?a|null|nil|unknown|unanswerable|not applicable|not available|untitled)[.!]*$",
    re.IGNORECASE,
)


def no_content(candidate: Candidate) -> bool:
    """Whether the caption states only, or first, what the image does not contain.

    A closing "There is no text." after a real description passes.
    """
    if not may_be_english(candidate):
        return False
    empty = [
        bool(_HAS_NOT.search(part) or _HAS_NONE.search(part))
        for part in sentences_of(candidate.own_words)
    ]
    return bool(empty) and (empty[0] or 2 * sum(empty) >= len(empty))


_BOILERPLATE = re.compile(
    r"\A(?:sure|sure thing|certainly|of course|absolutely|okay|ok|great|got it|no problem)[,!.:]"
    r"|\A(?:here(?:'s| is| are)|below (?:is|are)|this is|the following is) "
    r"(?:\w+ ){0,5}(?:description|caption|summary|breakdown|answer|alt[- ]text)\b"
    r"|\A(?:\w+ )?(?:answer|response|caption|description|output|alt[- ]text|final answer)\s*:"
    r"|\b(?:I hope (?:this|that)|let me know if|feel free to|is there anything else)\b"
    r"|\bif you (?:have|need|want|would like|'d like) (?:any|more|me|further|additional|another)\b",
    re.IGNORECASE,
)


def boilerplate(candidate: Candidate) -> bool:
    """Whether the caption contains assistant chatter: "Sure! Here is a description: ..."."""
    opening = candidate.own_words.strip()
    return may_be_english(candidate) and bool(_BOILERPLATE.search(opening))


_ROLE_LABEL = re.compile(
    r"^[# \t]*(?:user|human|assistant|system|instructions?|question)\s*:"
    r"|\b(?-i:USER|ASSISTANT|HUMAN|SYSTEM)\s*:",
    re.MULTILINE | re.IGNORECASE,
)
_INSTRUCTIONS = re.compile(
    r"\bimaginary content\b|\b(?:minimi[sz]|avoid)\w* aesthetic\b"
    r"|\bitemi[sz]\w+ (?:them|it) in list\b"
    r"|\bas (?:instructed|per (?:the|your) (?:instruction|request|prompt)s?)\b"
    r"|\b(?:in|per|following|to) (?:the|your|this) (?:prompt|instructions?)\b"
    r"|\byour task is\b|\byou are an? (?:helpful|AI|image|visual|vision|expert)\b",
    re.IGNORECASE,
)
# Shorter overlaps are everyday English: "in the center of the image" has six words.
_SHARED_RUN = 8
_WHOLE_SENTENCE = 5


def prompt_leak(candidate: Candidate) -> bool:
    """Whether the caption repeats the question, a sentence of it or eight words in a row.

    Also whether it mentions its instructions or contains a chat's role labels.
    """
    own = candidate.own_words
    if may_be_english(candidate) and (_ROLE_LABEL.search(own) or _INSTRUCTIONS.search(own)):
        return True
    asked = [words for words in map(words_of, sentences_of(candidate.prompt)) if words]
    if not asked:
        return False
    said = {tuple(words_of(sentence)) for sentence in sentences_of(candidate.text)}
    if any(tuple(words) in said for words in asked):
        return True
    text = f" {' '.join(words_of(candidate.text))} "
    prompt = [word for words in asked for word in words]
    scale = LETTERS_PER_WORD if without_blanks(prompt) else 1
    whole = [words for words in asked if len(words) >= _WHOLE_SENTENCE * scale]
    run = _SHARED_RUN * scale
    runs = [prompt[i : i + run] for i in range(len(prompt) - run + 1)]
    return any(f" {' '.join(words)} " in text for words in [*whole, *runs])
