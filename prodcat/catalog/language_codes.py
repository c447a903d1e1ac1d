"""What feeds call a language -> its ISO 639-1 code. Knows no text and guesses nothing.

Codes and English names are those of ISO 639-1 and 639-2 (T and B); own names are there for the languages in which shops commonly write.
"""

import re
import unicodedata

# code, three-letter codes, English names. A name of several words is joined by "_".
_ENGLISH = """
aa aar Afar|ab abk Abkhazian|ae ave Avestan|af afr Afrikaans|ak aka Akan|am amh Amharic|an arg Aragonese|ar ara Arabic|as asm Assamese
av ava Avaric|ay aym Aymara|az aze Azerbaijani|ba bak Bashkir|be bel Belarusian|bg bul Bulgarian|bi bis Bislama|bm bam Bambara
bn ben Bengali Bangla|bo bod,tib Tibetan|br bre Breton|bs bos Bosnian|ca cat Catalan Valencian|ce che Chechen|ch cha Chamorro
co cos Corsican|cr cre Cree|cs ces,cze Czech|cu chu Church_Slavic|cv chv Chuvash|cy cym,wel Welsh|da dan Danish|de deu,ger German
dv div Divehi Maldivian|dz dzo Dzongkha|ee ewe Ewe|el ell,gre Greek|en eng English|eo epo Esperanto|es spa Spanish Castilian
et est Estonian|eu eus,baq Basque|fa fas,per Persian Farsi|ff ful Fulah|fi fin Finnish|fj fij Fijian|fo fao Faroese|fr fra,fre French
fy fry Western_Frisian Frisian|ga gle Irish|gd gla Gaelic Scottish_Gaelic|gl glg Galician|gn grn Guarani|gu guj Gujarati|gv glv Manx
ha hau Hausa|he heb Hebrew|hi hin Hindi|ho hmo Hiri_Motu|hr hrv Croatian|ht hat Haitian Haitian_Creole|hu hun Hungarian
hy hye,arm Armenian|hz her Herero|ia ina Interlingua|id ind Indonesian|ie ile Interlingue|ig ibo Igbo|ii iii Sichuan_Yi|ik ipk Inupiaq
io ido Ido|is isl,ice Icelandic|it ita Italian|iu iku Inuktitut|ja jpn Japanese|jv jav Javanese|ka kat,geo Georgian|kg kon Kongo
ki kik Kikuyu|kj kua Kuanyama|kk kaz Kazakh|kl kal Greenlandic|km khm Khmer|kn kan Kannada|ko kor Korean|kr kau Kanuri|ks kas Kashmiri
ku kur Kurdish|kv kom Komi|kw cor Cornish|ky kir Kyrgyz Kirghiz|la lat Latin|lb ltz Luxembourgish|lg lug Ganda|li lim Limburgish
ln lin Lingala|lo lao Lao|lt lit Lithuanian|lu lub Luba-Katanga|lv lav Latvian|mg mlg Malagasy|mh mah Marshallese|mi mri,mao Maori
mk mkd,mac Macedonian|ml mal Malayalam|mn mon Mongolian|mr mar Marathi|ms msa,may Malay|mt mlt Maltese|my mya,bur Burmese|na nau Nauru
nb nob Bokmal Norwegian_Bokmal|nd nde North_Ndebele|ne nep Nepali|ng ndo Ndonga|nl nld,dut Dutch Flemish|nn nno Nynorsk
no nor Norwegian|nr nbl South_Ndebele|nv nav Navajo|ny nya Chichewa Nyanja|oc oci Occitan|oj oji Ojibwa|om orm Oromo|or ori Odia Oriya
os oss Ossetian|pa pan Punjabi|pi pli Pali|pl pol Polish|ps pus Pashto|pt por Portuguese|qu que Quechua|rm roh Romansh|rn run Rundi
ro ron,rum Romanian Moldavian|ru rus Russian|rw kin Kinyarwanda|sa san Sanskrit|sc srd Sardinian|sd snd Sindhi|se sme Northern_Sami
sg sag Sango|si sin Sinhala|sk slk,slo Slovak|sl slv Slovenian Slovene|sm smo Samoan|sn sna Shona|so som Somali|sq sqi,alb Albanian
sr srp Serbian|ss ssw Swati|st sot Southern_Sotho|su sun Sundanese|sv swe Swedish|sw swa Swahili|ta tam Tamil|te tel Telugu|tg tgk Tajik
th tha Thai|ti tir Tigrinya|tk tuk Turkmen|tl tgl,fil Tagalog Filipino|tn tsn Tswana|to ton Tonga|tr tur Turkish|ts tso Tsonga
tt tat Tatar|tw twi Twi|ty tah Tahitian|ug uig Uyghur|uk ukr Ukrainian|ur urd Urdu|uz uzb Uzbek|ve ven Venda|vi vie Vietnamese
vo vol Volapuk|wa wln Walloon|wo wol Wolof|xh xho Xhosa|yi yid Yiddish|yo yor Yoruba|za zha Zhuang|zh zho,chi Chinese Mandarin|zu zul Zulu
"""
_OWN = """
ar العربية|bg български|cs čeština česky|da dansk|de deutsch|el ελληνικά|es español castellano|et eesti|fa فارسی|fi suomi|fr français|he עברית
hi हिन्दी|hr hrvatski|hu magyar|id bahasa_indonesia|it italiano|ja 日本語|ko 한국어|lt lietuvių|lv latviešu|ms bahasa_melayu|nl nederlands vlaams
nb norsk_bokmål|no norsk|pl polski|pt português|ro română|ru русский|sk slovenčina|sl slovenščina|sr српски srpski|sv svenska|th ไทย|tr türkçe
uk українська|vi tiếng_việt|zh 中文 汉语 漢語
"""
# Codes that ISO has withdrawn and feeds still hold.
_OLD = {"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "mo": "ro"}
# A code with what may follow it: script, country, variant ("zh-Hant-TW", "en_GB", "sr@latin", "de_DE.UTF-8").
_TAG = re.compile(r"([a-z]{2,3})(?:[-_@.][a-z0-9-]+)*")


def _folded(name: str) -> str:
    """Case and accents aside: "Français" and "francais" are one name."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    # Only the marks of Latin letters: those of other scripts are part of the letter.
    return unicodedata.normalize("NFC", re.sub("[\u0300-\u036f]", "", plain)).strip()


def _entries(table: str) -> list[list[str]]:
    return [entry.split() for line in table.strip().splitlines() for entry in line.split("|")]


_THREE = {three: code for code, threes, *_ in _entries(_ENGLISH) for three in threes.split(",")}
_NAMES = {
    _folded(name.replace("_", " ")): code
    for code, names in [*((code, names) for code, _, *names in _entries(_ENGLISH)), *((code, names) for code, *names in _entries(_OWN))]
    for name in names
}
CODES = frozenset(_THREE.values())


def language_code(text: str) -> str | None:
    """What a feed calls a language -> ISO 639-1.

    Args:
        text: "en", "EN-us", "en_GB", "eng", "English", "English (US)", "Türkçe", in any case.

    Returns:
        the two-letter code; None if it is none that is known. Never a guess.
    """
    lowered = text.strip().casefold()
    if tag := _TAG.fullmatch(lowered):
        code = _OLD.get(tag[1], tag[1])
        if code in CODES or code in _THREE:
            return _THREE.get(code, code)
    name = _folded(re.sub(r"\s*\([^)]*\)$", "", lowered))
    return _NAMES.get(name)
