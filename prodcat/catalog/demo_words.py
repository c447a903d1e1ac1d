"""The demo's tree and vocabulary: what its shops sell and how they speak of it, in three languages. Only data."""

from prodcat.taxonomy import CategoryPath

LANGUAGES = ("en", "de", "fr")

# Leaf -> (words in English, in German, in French). The tree is ragged: leaves at levels 1, 2 and 3.
LEAVES: dict[CategoryPath, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    ("Apparel", "Topwear", "T-Shirts"): (
        ("T-Shirt", "Crew Neck Tee", "Jersey Top"),
        ("T-Shirt", "Kurzarmshirt", "Rundhalsshirt"),
        ("T-shirt", "Tee-shirt", "Maillot col rond"),
    ),
    ("Apparel", "Topwear", "Shirts"): (
        ("Shirt", "Oxford Shirt", "Button-Down"),
        ("Hemd", "Oxfordhemd", "Businesshemd"),
        ("Chemise", "Chemise oxford", "Chemise boutonnée"),
    ),
    ("Apparel", "Topwear", "Sweaters"): (
        ("Sweater", "Knit Jumper", "Pullover"),
        ("Pullover", "Strickpulli", "Wollpullover"),
        ("Pull", "Tricot", "Pull en laine"),
    ),
    ("Apparel", "Topwear", "Jackets"): (("Jacket", "Windbreaker", "Bomber"), ("Jacke", "Windjacke", "Blouson"), ("Veste", "Coupe-vent", "Blouson")),
    ("Apparel", "Bottomwear", "Jeans"): (
        ("Jeans", "Denim Pants", "Slim Denim"),
        ("Jeans", "Denimhose", "Jeanshose"),
        ("Jean", "Pantalon denim", "Jean droit"),
    ),
    ("Apparel", "Bottomwear", "Shorts"): (
        ("Shorts", "Bermudas", "Board Shorts"),
        ("Shorts", "Bermudas", "Kurze Hose"),
        ("Short", "Bermuda", "Pantalon court"),
    ),
    ("Apparel", "Bottomwear", "Skirts"): (
        ("Skirt", "Pleated Skirt", "Midi Skirt"),
        ("Rock", "Faltenrock", "Midirock"),
        ("Jupe", "Jupe plissée", "Jupe midi"),
    ),
    ("Apparel", "Dresses"): (
        ("Dress", "Summer Dress", "Evening Gown"),
        ("Kleid", "Sommerkleid", "Abendkleid"),
        ("Robe", "Robe d'été", "Robe de soirée"),
    ),
    ("Footwear", "Shoes", "Sneakers"): (
        ("Sneakers", "Trainers", "Running Shoes"),
        ("Sneaker", "Turnschuhe", "Laufschuhe"),
        ("Baskets", "Tennis", "Chaussures de course"),
    ),
    ("Footwear", "Shoes", "Boots"): (
        ("Boots", "Ankle Boots", "Winter Boots"),
        ("Stiefel", "Stiefeletten", "Winterstiefel"),
        ("Bottes", "Bottines", "Bottes d'hiver"),
    ),
    ("Footwear", "Shoes", "Heels"): (
        ("Heels", "Pumps", "Stilettos"),
        ("Pumps", "High Heels", "Stöckelschuhe"),
        ("Escarpins", "Talons hauts", "Talons aiguilles"),
    ),
    ("Footwear", "Shoes", "Loafers"): (
        ("Loafers", "Slip-On Shoes", "Moccasins"),
        ("Slipper", "Loafer", "Mokassins"),
        ("Mocassins", "Loafers", "Chaussures à enfiler"),
    ),
    ("Footwear", "Sandals"): (("Sandals", "Flip Flops", "Slides"), ("Sandalen", "Zehentrenner", "Badelatschen"), ("Sandales", "Tongs", "Claquettes")),
    ("Accessories", "Bags", "Backpacks"): (
        ("Backpack", "Rucksack", "Daypack"),
        ("Rucksack", "Tagesrucksack", "Schulrucksack"),
        ("Sac à dos", "Cartable", "Petit sac à dos"),
    ),
    ("Accessories", "Bags", "Handbags"): (
        ("Handbag", "Tote Bag", "Shoulder Bag"),
        ("Handtasche", "Schultertasche", "Henkeltasche"),
        ("Sac à main", "Cabas", "Sac bandoulière"),
    ),
    ("Accessories", "Bags", "Wallets"): (
        ("Wallet", "Billfold", "Card Holder"),
        ("Geldbörse", "Portemonnaie", "Kartenetui"),
        ("Portefeuille", "Porte-cartes", "Porte-monnaie"),
    ),
    ("Accessories", "Headwear", "Caps"): (
        ("Cap", "Baseball Cap", "Snapback"),
        ("Kappe", "Schirmmütze", "Baseballkappe"),
        ("Casquette", "Casquette baseball", "Visière"),
    ),
    ("Accessories", "Headwear", "Beanies"): (
        ("Beanie", "Knit Hat", "Bobble Hat"),
        ("Beanie", "Strickmütze", "Bommelmütze"),
        ("Bonnet", "Bonnet en laine", "Bonnet à pompon"),
    ),
    ("Accessories", "Jewellery", "Necklaces"): (
        ("Necklace", "Pendant Chain", "Choker"),
        ("Halskette", "Kette mit Anhänger", "Collier"),
        ("Collier", "Chaîne pendentif", "Ras-de-cou"),
    ),
    ("Accessories", "Jewellery", "Rings"): (
        ("Ring", "Band Ring", "Signet Ring"),
        ("Ring", "Bandring", "Siegelring"),
        ("Bague", "Anneau", "Chevalière"),
    ),
    ("Accessories", "Watches"): (
        ("Watch", "Chronograph", "Wristwatch"),
        ("Armbanduhr", "Uhr", "Chronograph"),
        ("Montre", "Chronographe", "Montre-bracelet"),
    ),
    ("Accessories", "Sunglasses"): (
        ("Sunglasses", "Aviators", "Shades"),
        ("Sonnenbrille", "Pilotenbrille", "Sportbrille"),
        ("Lunettes de soleil", "Lunettes aviateur", "Solaires"),
    ),
    ("Accessories", "Belts"): (
        ("Belt", "Leather Belt", "Braided Belt"),
        ("Gürtel", "Ledergürtel", "Flechtgürtel"),
        ("Ceinture", "Ceinture en cuir", "Ceinture tressée"),
    ),
    ("Home", "Kitchen", "Mugs"): (("Mug", "Coffee Cup", "Tea Mug"), ("Becher", "Kaffeetasse", "Teetasse"), ("Mug", "Tasse à café", "Tasse à thé")),
    ("Home", "Kitchen", "Pans"): (
        ("Frying Pan", "Skillet", "Saucepan"),
        ("Bratpfanne", "Pfanne", "Schmorpfanne"),
        ("Poêle", "Sauteuse", "Poêle à frire"),
    ),
    ("Home", "Furniture", "Chairs"): (
        ("Chair", "Dining Chair", "Wooden Chair"),
        ("Stuhl", "Esszimmerstuhl", "Holzstuhl"),
        ("Chaise", "Chaise de salle", "Chaise en bois"),
    ),
    ("Home", "Furniture", "Lamps"): (
        ("Table Lamp", "Desk Lamp", "Bedside Light"),
        ("Tischlampe", "Schreibtischlampe", "Nachttischleuchte"),
        ("Lampe", "Lampe de bureau", "Lampe de chevet"),
    ),
    ("Gift Cards",): (
        ("Gift Card", "Voucher", "E-Gift Card"),
        ("Gutschein", "Geschenkkarte", "Einkaufsgutschein"),
        ("Carte cadeau", "Bon d'achat", "Chèque cadeau"),
    ),
}

# (red, green, blue) -> names in the three languages.
COLOURS: tuple[tuple[tuple[int, int, int], tuple[str, str, str]], ...] = (
    ((38, 38, 42), ("Black", "Schwarz", "noir")),
    ((178, 34, 46), ("Red", "Rot", "rouge")),
    ((36, 72, 148), ("Blue", "Blau", "bleu")),
    ((40, 116, 70), ("Green", "Grün", "vert")),
    ((206, 164, 42), ("Yellow", "Gelb", "jaune")),
    ((122, 78, 46), ("Brown", "Braun", "marron")),
    ((132, 134, 140), ("Grey", "Grau", "gris")),
    ((196, 104, 140), ("Pink", "Rosa", "rose")),
    ((104, 66, 138), ("Purple", "Lila", "violet")),
    ((198, 176, 146), ("Beige", "Beige", "beige")),
    ((208, 106, 38), ("Orange", "Orange", "orange")),
    ((28, 128, 134), ("Teal", "Petrol", "canard")),
)

ADJECTIVES: tuple[tuple[str, ...], ...] = (
    ("Classic", "Light", "Everyday", "Soft", "Modern", "Vintage", "Slim", "Premium", "Urban", "Cosy"),
    ("klassisch", "leicht", "bequem", "weich", "modern", "robust", "schlicht", "hochwertig", "sportlich", "edel"),
    ("classique", "léger", "confortable", "doux", "moderne", "rétro", "élégant", "de luxe", "urbain", "pratique"),
)

# Names of collections say nothing about the category.
COLLECTIONS = (
    "Aurora",
    "Vento",
    "Mira",
    "Solstice",
    "Kaira",
    "Orion",
    "Luma",
    "Delta",
    "Nova",
    "Sienna",
    "Arbor",
    "Cirrus",
    "Tessel",
    "Onyx",
    "Pavo",
)
BRANDS: dict[str, tuple[str, ...]] = {
    "nordwald": ("Nordwald", "Fjellmark", "Haldis", "Bruno Keil", "Tannhof"),
    "urbanly": ("Urbanly", "Kestrel & Co", "Old Mill", "Harbour 9", "Penn Lane"),
    "atelier": ("Atelier Roux", "Belcourt", "Maison Lys", "Sablier", "Vaugirard"),
    "bazaar": ("Zentro", "Fashionista", "MaxiBuy", "Trendex", "OEM"),
}
DESCRIPTIONS = (
    "Easy to care for. Delivered in {days} days. Free returns.",
    "Pflegeleicht. Lieferung in {days} Tagen. Kostenlose Rückgabe.",
    "Entretien facile. Livraison en {days} jours. Retours gratuits.",
)
