"""What the glossary finds in titles, what it leaves alone, and whether its rows are fit to be read."""

import csv
import pickle
import unicodedata
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodcat.encoders.inputs import TextReading
from prodcat.errors import GlossaryError
from prodcat.glossary import COLUMNS, Entry, Glossary
from prodcat.masking import normalise

HEADER = ",".join(COLUMNS)
SHIPPED = Glossary.shipped()
LANGUAGES = set(
    "ar bg cs da de el es fa fi fr he hi hr hu id it ja ko ms nl no pl pt ro ru sk sr sv th tr uk vi zh".split()  # noqa: SIM905 - a table to be read
)
# English words, in the form that titles have them, that some language's noun is spelled like, with or without its accents.
ENGLISH = set(
    """
    babies baby backpack bag bags bambino barn base basic basket baskets belt belts bikini black blazer blue body bone bones
    bonnet bonnets boot boots born bottle bow boxer boy boys bra bras brief briefs bustier camisole cap cape capes caps cardigan
    case casual chain charm charms chemise chemises classic clock clog clogs clutch coat coats colbert collar collars cologne
    color coque coral corset costume costumes cotton cover crampons cream culotte culottes cushion dame denim doll dress dresses
    farmer fete fin fine flat flats floral fond football formal foundation frames gem gift girl girls glasses gloss glove gloves
    gold gown green gutter habit hame hat heel heels herr hood hoodie hoodies hose hue huer hut jack jacket jackets jean jeans
    jersey jerseys jumper junior jupe kappa kid kids kind kinder kofta kurta kurtas labia labial lace leather legging lehenga
    linen lingerie loafer long lotion luggage man mantel mascara mat mate maxi mayo medal men mesh midi mini mono mule mules new
    overall overalls pack panties pants panty parfum party pendant pet pets pink pochette polar polo polos poncho postal pouch
    powder print pull pulls pung purse pyjamas red rifle ring rings robe robes rock rose rouge rucksack running sack saga saia
    sale sandal sandals saree sari scarf set shampoo shirt shirts shoe shoes short shorts silk silver size skirt skirts skor slip
    slippers slips sneaker sneakers soap sock socks solid sort sorts sport sports spring stiletto stilettos stockings stole stoles
    suitcase summer sweater sweaters sweatshirt sweatshirts talisman tank tanks tasker tee tees termo tie ties tights ton tong top
    topper tops tote toy toys trolley trunk trunks tunic umbrella vanity vest vests vintage wallet watch watches white winter
    woman women wool
    """.split()  # noqa: SIM905 - a table to be read
)


@pytest.mark.parametrize(
    ("language", "title", "found"),
    [
        ("es", "Vestido largo de mujer estampado flores", ["dresses", "women"]),
        ("es", "Zapatillas de running hombre talla 42", ["running shoes", "men"]),
        ("es", "ZAPATILLAS DE RUNNING", ["running shoes"]),
        ("es", "Pantalon vaquero tiro alto", ["jeans"]),  # without its accent
        ("es", "Bolso bandolera piel negro", ["sling bag"]),
        ("pt", "Tênis de corrida feminino leve", ["running shoes", "women"]),
        ("pt", "Boné aba curva preto", ["caps"]),
        ("pt-BR", "Calça jeans masculina reta", ["jeans", "men"]),
        ("fr", "Robe d'été fleurie", ["dresses"]),
        ("fr", "Sac à main en cuir véritable", ["handbags"]),
        ("fr", "Boucles d’oreilles plaqué or", ["earrings"]),  # a typographic apostrophe
        ("fr", "chaussures de sport pour enfants", ["sports shoes", "kids"]),
        ("de", "Damenkleid mit Blumenmuster", ["dresses"]),
        ("de", "Lieblingskleid", ["dresses"]),
        ("de", "Luftige Sommerkleider", ["dresses"]),
        ("de", "Rock aus Leder", ["skirts"]),
        ("de", "Weicher Ledergürtel braun", ["belts"]),
        ("de", "Weicher Lederguertel braun", ["belts"]),
        ("de", "Barock Bluse", ["tops"]),
        ("de", "Sonnenbrille polarisiert, Unterhose 3er-Pack", ["sunglasses", "briefs"]),
        ("it", "Scarpe da ginnastica uomo", ["sports shoes", "men"]),
        ("it", "L'orologio da polso automatico", ["watches"]),
        ("nl", "Zwarte avondjurk met kant", ["dresses"]),
        ("nl", "Leren schoudertas voor dames", ["sling bag", "women"]),
        ("pl", "Sukienka letnia w kwiaty", ["dresses"]),
        ("pl", "Buty do biegania męskie", ["running shoes", "men"]),
        ("ru", "Платье женское летнее", ["dresses", "women"]),
        ("ru", "Кроссовки для бега мужские", ["running shoes", "men"]),
        ("ru", "Купить сумку через плечо и серёжки", ["handbags", "earrings"]),
        ("uk", "Сукня вечірня з мереживом", ["dresses"]),
        ("uk", "Кросівки чоловічі білі", ["sneakers", "men"]),
        ("tr", "KADIN DERİ CEKETİ", ["women", "jackets"]),
        ("tr", "Erkek Spor Ayakkabısı Siyah", ["men", "sports shoes"]),
        ("vi", "Dép xỏ ngón đi biển", ["flip flops"]),
        ("vi", "Túi đeo chéo nữ", ["sling bag", "women"]),
        ("vi", "Giày thể thao nam", ["sports shoes", "men"]),
        ("vi", "giay the thao cao cap", ["sports shoes"]),
        ("vi", "giay cao cap", []),  # "giấy" is paper
        ("id", "Sepatu olahraga pria", ["sports shoes", "men"]),
        ("id", "Kaos kaki anak", ["socks", "kids"]),
        ("ms", "Baju kurung moden", ["kurta sets"]),
        ("sv", "Vinröd festklänning", ["dresses"]),
        ("sv", "Löparskor herr", ["running shoes", "men"]),
        ("da", "Sort nederdel med lommer", ["skirts"]),
        ("nb", "Bunadskjorte til herrer", ["shirts", "men"]),
        ("fi", "Pitkä kesämekko", ["dresses"]),
        ("cs", "Dámské letní šaty", ["women", "dresses"]),
        ("sk", "Pánska košeľa biela", ["men", "shirts"]),
        ("ro", "Rochie de seară neagră", ["dresses"]),
        ("hu", "Női báli ruha", ["women", "dresses"]),
        ("hu", "Fekete bőrkabát", ["coats"]),
        ("el", "ΓΥΝΑΙΚΕΙΟ ΦΟΡΕΜΑ", ["women", "dresses"]),
        ("bg", "Дамска рокля на цветя", ["women", "dresses"]),
        ("hr", "Ženska haljina crna", ["women", "dresses"]),
        ("sr", "Патике за трчање", ["running shoes"]),
        ("ja", "ブラックワンピース レディース", ["dresses", "women"]),
        ("ja", "スプリングコート", ["coats"]),
        ("ja", "半袖Ｔシャツ", ["t-shirts"]),
        ("ja", "本革の手袋", ["gloves"]),
        ("ko", "여성 롱원피스를", ["women", "dresses"]),
        ("ko", "가죽 크로스백", ["sling bag"]),
        ("ko", "진주귀걸이", ["earrings"]),
        ("zh", "夏季新款女士碎花连衣裙", ["women", "dresses"]),
        ("zh", "復古風牛仔褲", ["jeans"]),
        ("zh", "纯棉T恤", ["t-shirts"]),
        ("zh-Hant", "真皮手袋", ["handbags"]),
        ("ar", "الفُسْتان الأحمر", ["dresses"]),
        ("ar", "حقيبة ظهر مدرسية", ["backpacks"]),
        ("fa", "کفش ورزشی مردانه", ["sports shoes", "men"]),
        ("fa", "تی\u200cشرت آستین بلند", ["t-shirts"]),
        ("he", "שמלת ערב לנשים", ["dresses", "women"]),
        ("he", "התיק החדש", ["handbags"]),
        ("hi", "पुरुषों की कमीज़", ["men", "shirts"]),
        ("hi", "सूती कुर्ता सेट", ["kurta sets"]),
        ("th", "เสื้อยืดคอกลมผู้ชาย", ["t-shirts", "men"]),
        ("th", "รองเท้าวิ่งรุ่นใหม่", ["running shoes"]),
    ],
)
def test_titles(language, title, found):
    assert SHIPPED.english(title, language) == tuple(found)
    assert SHIPPED.english(unicodedata.normalize("NFD", title), language) == tuple(found)


@pytest.mark.parametrize(
    "title",
    [
        "Rock band t-shirt in black",
        "Kids robe with hut print",
        "Slip on sneakers by Kappa",
        "Short sleeve polo, mono colour",
        "Jersey dress with collar",
        "Rifle green mantel clock",
        "Fine bone china",
        "A farmer's gift for a man of habit",
    ],
)
def test_english_titles_say_nothing_new(title):
    """Not even where nobody said that they are English."""
    assert SHIPPED.english(title, None) == ()
    assert SHIPPED.english(title, "en") == SHIPPED.english(title, "en-GB") == ()


def test_english_is_never_read():
    assert SHIPPED.english("Vestido platье платье 连衣裙", "EN_us") == ()


@pytest.mark.parametrize(
    ("title", "found"),
    [
        ("Платье на лето", ["dresses"]),
        ("Vestido de flores", ["dresses"]),
        ("超薄连衣裙", ["dresses"]),
        ("Schuhe", ["shoes"]),
        ("Rock aus Leder", []),  # may be music
        ("手袋", []),  # gloves in Japanese, a handbag in Chinese
        ("Lieblingskleid", []),  # a compound is read where it is known to be one
    ],
)
@pytest.mark.parametrize("language", [None, "xx", "sw"])
def test_without_a_language_only_what_stands_alone(title, found, language):
    assert SHIPPED.english(title, language) == tuple(found)


def test_terms_of_other_languages_are_read_too_and_the_own_ones_go_first():
    entries = [Entry("es", "falda", "skirts", True), Entry("xx", "falda", "tables", False), Entry("xx", "rata", "boats", False)]
    glossary = Glossary(tuple(entries))
    assert glossary.english("falda rata", "es") == ("skirts",)
    assert glossary.english("falda rata", "xx") == ("tables", "boats")
    assert glossary.english("falda rata", None) == ("skirts",)


def test_the_longest_term_wins_and_nothing_is_found_twice():
    glossary = Glossary(tuple(Entry("xx", term, term.upper(), False) for term in ("a b", "b c", "a b c", "c", "d")))
    assert glossary.english("a b c", "xx") == ("A B C",)
    assert glossary.english("a b d c d", "xx") == ("A B", "D", "C")
    assert glossary.english("ab, c", "xx") == ("C",)


def test_a_spelling_without_accents_that_is_two_things_is_neither():
    glossary = Glossary((Entry("xx", "pòp", "one", False), Entry("xx", "póp", "two", False)))
    assert (glossary.english("pòp", "xx"), glossary.english("póp", "xx"), glossary.english("pop", "xx")) == (("one",), ("two",), ())


def test_wrong_accents_are_another_word():
    assert SHIPPED.english("Pantalõn", "es") == ()


def test_what_is_found_stands_behind_the_title():
    reading = TextReading(glossary="added")
    assert reading.of("Vestido rojo de mujer", None, None, "es") == "Vestido rojo de mujer (dresses, women)"
    assert reading.of("Rojo", None, None, "es") == "Rojo"
    assert not reading.of("", None, None, None)


def test_it_is_read_once_and_travels():
    assert Glossary.shipped() is SHIPPED
    assert pickle.loads(pickle.dumps(SHIPPED)).english("falda", "es") == ("skirts",)  # noqa: S301 - as Ray does it


pieces = st.sampled_from(
    [
        "falda",
        "Dép xỏ",
        "ngón",
        "連衣裙",
        "T",
        "恤",
        "シャツ",
        "ブラ",
        "ック",
        "원피스",
        "를",
        "फ़",
        "เสื้อ",
        "ยืด",
        "الفستان",
        "-",
        "7",
        "İ",
        "ß",
        "\u0301",
    ]
)


@given(st.lists(pieces, max_size=8), st.sampled_from(["", " "]), st.sampled_from([None, *sorted(LANGUAGES)]))
def test_any_text_is_a_title(parts, gap, language):
    title = gap.join(parts)
    found = SHIPPED.english(title, language)
    assert len(set(found)) == len(found)
    assert (TextReading(glossary="added").of(title, None, None, language) or "").startswith(" ".join(title.split()))


def test_the_rows_are_well_formed_sorted_and_unique():
    text = files("prodcat").joinpath("glossary.csv").read_text(encoding="utf-8")
    header, *rows = csv.reader(text.splitlines())
    assert tuple(header) == COLUMNS
    assert len(rows) == len(SHIPPED.entries)
    keys = [(language, term) for language, term, _, _ in rows]
    assert keys == sorted(set(keys))
    assert {language for language, _ in keys} == LANGUAGES == SHIPPED.languages
    assert [row for row in rows if any(cell != " ".join(cell.split()) or not cell for cell in row)] == []
    assert [row for row in rows if row[1] != unicodedata.normalize("NFC", row[1])] == []
    assert [english for _, _, english, _ in rows if not (english.isascii() and english == english.lower())] == []


def test_every_language_knows_the_common_nouns():
    common = {
        "dresses",
        "skirts",
        "t-shirts",
        "shirts",
        "jackets",
        "jeans",
        "trousers",
        "shoes",
        "boots",
        "sandals",
        "handbags",
        "backpacks",
        "wallets",
    }
    common |= {
        "belts",
        "ties",
        "hats",
        "socks",
        "watches",
        "sunglasses",
        "ring",
        "necklace",
        "earrings",
        "bra",
        "perfume",
        "lipstick",
        "women",
        "men",
    }
    for language in LANGUAGES:
        assert common - {entry.english for entry in SHIPPED.entries if entry.language == language} == set(), language


def test_every_term_is_found_in_its_own_language():
    """As a title of its own; what is spelled like it in the same language, without accents, has given way."""
    lost = [entry for entry in SHIPPED.entries if SHIPPED.english(entry.term, entry.language) != (entry.english,)]
    assert lost == []


def test_no_term_that_is_read_alone_is_an_english_word():
    offending = {entry.term for entry in SHIPPED.entries if entry.alone and {entry.term, normalise(entry.term)} & ENGLISH}
    assert offending == set()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["language,term,english"], r"line 1: the columns are language, term, english; expected are language,term,english,alone"),
        ([], r"line 1: the columns are none"),
        ([HEADER, "es,falda,skirts"], r"line 2: 3 columns; expected are 4"),
        ([HEADER, "es,falda,skirts,yes", "spa,blusa,tops,yes"], r"line 3, column language: 'spa'"),
        ([HEADER, "en,skirt,skirts,no"], r"line 2, column language: 'en'"),
        ([HEADER, "es,Falda,skirts,yes"], r"line 2, column term: 'Falda'"),
        ([HEADER, "es,-,skirts,yes"], r"line 2, column term: '-'"),
        ([HEADER, "es,falda,,yes"], r"line 2, column english: empty"),
        ([HEADER, "es,falda,skirts,maybe"], r"line 2, column alone: 'maybe'; expected is yes or no"),
        (
            [HEADER, "es,falda,skirts,yes", "es,falda,dresses,no"],
            r"line 3, column term: es 'falda' is read as the term of line 2 is",
        ),
        ([HEADER, "ru,чёрт,a,no", "ru,черт,b,no"], r"line 3, column term: ru 'черт' is read as the term of line 2 is"),
        ([HEADER, "es,falda,skirts,yes", "pt,falda,faults,yes"], r"pt 'falda' is 'faults' and es 'falda' is 'skirts'"),
        ([HEADER, 'es,"falda,skirts,yes'], r"line 2: cannot be read as CSV"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_by_line_and_column(tmp_path, lines, message):
    file = tmp_path / "own.csv"
    file.write_text("\n".join([*lines, ""]) if lines else "", encoding="utf-8")
    with pytest.raises(GlossaryError, match=message) as error:
        Glossary.read(file)
    assert str(error.value).startswith(str(file))


def test_a_file_of_ones_own(tmp_path):
    file = tmp_path / "own.csv"
    file.write_text("\ufefflanguage,term,english,alone\nsw,viatu,shoes,yes\nsw,gauni,dresses,no\n", encoding="utf-8")
    glossary = Glossary.read(file)
    assert glossary.english("Gauni na viatu", "sw") == ("dresses", "shoes")
    assert glossary.english("Gauni na viatu", None) == ("shoes",)


@pytest.mark.parametrize("content", [None, b"language,term,english,alone\nes,\xff,x,no\n"])
def test_a_file_that_cannot_be_read(tmp_path, content):
    file = tmp_path / "own.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(GlossaryError, match=r"own\.csv: cannot be read as UTF-8"):
        Glossary.read(file)
