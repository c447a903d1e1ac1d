"""What shops call their columns, in a dozen languages: a name -> the field it says it is. Looks at no value."""

import re
import unicodedata

# Field -> names, the surest first. Lower case, words joined by "_", without accents.
_NAMES: dict[str, str] = {
    "product_id": """
        product_id productid sku sku_id article_id item_id goods_id prod_id uniq_id unique_id id pid asin handle variant_id style_id style_code
        article_number article_no item_no item_number item_code product_code product_number code artikelnummer artikel_nr artnr art_nr bestellnummer
        reference ref reference_produit referencia codigo codice codice_articolo id_produktu kod kod_produktu artikelnr artikkelnummer urun_kodu
        stok_kodu urun_id артикул код ид код_товара id_товара ma_san_pham ma_sp 商品番号 商品コード 品番 商品编号 货号 商品id 상품코드 상품번호
        gtin ean ean13 barcode upc isbn mpn""",
    "title": """
        title product_title product_name productname name prod_name item_name product_display_name productdisplayname display_name goods_title
        goods_name article_name titel bezeichnung artikelbezeichnung produktbezeichnung produktname artikelname produkttitel nom nom_produit
        nom_du_produit titre libelle designation nombre nombre_producto nombre_del_producto titulo nome nome_produto nome_prodotto titolo
        denominazione nazwa nazwa_produktu tytul naam productnaam namn produktnamn navn nimi urun_adi urun_ismi baslik isim название наименование
        название_товара наименование_товара ten ten_san_pham 商品名 品名 製品名 商品名称 商品标题 标题 名称 상품명 제품명 상품이름""",
    "description": """
        description product_description long_description detail_desc details desc body body_html body_(html) short_description product_details
        beschreibung produktbeschreibung langbeschreibung artikelbeschreibung description_produit descripcion descrizione descricao opis opis_produktu
        omschrijving beskrivning beskrivelse aciklama urun_aciklamasi описание описание_товара mo_ta 商品説明 説明 商品描述 描述 상품설명 설명""",
    "brand": """
        brand brand_name vendor manufacturer maker designer label_name marke hersteller marque fabricant marca fabricante produttore marka merk
        tillverkare marka_adi uretici бренд марка производитель thuong_hieu ブランド メーカー 品牌 브랜드 제조사""",
    "category": """
        category_path categorypath product_category_tree category_tree breadcrumbs breadcrumb google_product_category product_type article_type
        articletype product_category category categories category_name item_category subcategory sub_category kategorie kategorien
        produktkategorie warengruppe kategoriepfad categorie categories_produit rayon categoria categorias tipo_producto tipo_prodotto kategoria
        kategorie_produktu rubriek productgroep kategori urun_kategorisi категория категории раздел тип_товара danh_muc カテゴリ カテゴリー 分类 类目
        品类
        카테고리 분류 product_type_name department taxonomy""",
    "image": """
        image image_url image_link imageurl main_image image_src img img_url image_path picture photo images image_urls thumbnail image_1 image1
        bild bilder bild_url bildpfad foto fotos lien_image url_image photo_url imagen imagenes immagine immagini imagem zdjecie zdjecia afbeelding
        plaatje gorsel resim resim_url картинка изображение фото hinh_anh 画像 商品画像 图片 主图 이미지 상품이미지""",
    "platform": "platform marketplace shop shop_name store store_name plattform boutique tienda negozio sklep winkel magaza платформа магазин",
    "language": "language lang content_language locale sprache langue idioma lingua jezyk taal dil язык",
}
_ROLE = {name: (field, place) for field, names in _NAMES.items() for place, name in enumerate(names.split())}
# Words that say it inside a longer name ("goods-title-link"), unless another word says that it is something else ("rank-title", "brand_name").
_WORDS = {
    "title": {"title", "titel", "titre", "titulo", "titolo", "name", "nom", "nombre", "nome", "nazwa", "naam", "название", "наименование"},
    "description": {"description", "beschreibung", "descripcion", "descrizione", "opis", "aciklama", "описание"},
    "image": {"image", "img", "photo", "picture", "bild", "foto", "imagen", "immagine", "resim", "gorsel"},
    "product_id": {"sku", "articleid", "itemid", "productid"},
    "category": {"category", "kategorie", "categorie", "categoria", "kategori", "категория", "breadcrumb", "breadcrumbs"},
}
_OTHERWISE = set(
    re.findall(
        r"\w+",
        "rank brand color colour size group type category department index section sub seller store shop user author country currency file seo meta "
        "alt count position width height graphical appearance option variant source score kategorie parent status",
    )
)
_MAIN = {"main_category", "master_category", "maincategory", "mastercategory", "hauptkategorie", "category_1", "department", "gender_category"}
_MIDDLE = {"category", "kategorie", "categorie", "categoria", "kategori", "категория", "product_category"}
_SUB = {"sub_category", "subcategory", "unterkategorie", "sous_categorie", "subcategoria", "sottocategoria", "alt_kategori", "подкатегория"}
_LEAF = {"article_type", "articletype", "product_type", "sub_sub_category", "subsubcategory", "item_type"}


def normal(name: str) -> str:
    """ "imageUrl", "Image URL", "image-url" -> "image_url"; accents go."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    text = unicodedata.normalize("NFKD", text.replace("ı", "i")).casefold()
    text = "".join(character for character in text if not unicodedata.combining(character) or "\u3040" <= character <= "\u30ff")
    return re.sub(r"[^\w()]+", "_", unicodedata.normalize("NFKC", text)).strip("_")


def role_by_name(name: str) -> tuple[str, int] | None:
    """(field, rank) that a column's whole name says; a lower rank is surer. None for a name that says none."""
    whole = normal(name)
    return _ROLE.get(whole) or _ROLE.get(whole.replace("_", ""))


def role_by_word(name: str) -> str | None:
    """The field that a word inside the name says, unless other words speak against it."""
    words = set(normal(name).split("_"))
    for field, telling in _WORDS.items():
        if words & telling and not (words - telling) & _OTHERWISE:
            return field
    return None


def levels_by_name(names: list[str]) -> list[str]:
    """Columns that hold one level of the category each, the coarsest first: level1, level2, or main_category, category, subcategory. [] if none."""
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = re.fullmatch(r"(.*(?:level|lvl|categor|kategor|cat|taxonom|катег|hierarch)[^\d]*?)_?l?(\d)(?:_name)?", normal(name))
        if match:
            numbered.setdefault(match[1], []).append((int(match[2]), name))
    for columns in numbered.values():
        numbers = sorted(number for number, _ in columns)
        if len(columns) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[0] <= 1:
            return [name for _, name in sorted(columns)]
    chain = [next((name for name in names if normal(name) in level), None) for level in (_MAIN, _MIDDLE, _SUB, _LEAF)]
    found = [name for name in chain if name is not None]
    return found if len(found) > 1 and (chain[0] or chain[2]) else []


def speaks_of_kinds(name: str) -> bool:
    """Whether a column may hold a coarser category than another does."""
    words = set(normal(name).split("_"))
    return bool(
        words & {"category", "group", "department", "family", "class", "kategorie", "gruppe", "categorie", "categoria", "section", "division"}
    )
