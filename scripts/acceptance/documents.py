"""Small update documents of our own, for checks that need a payload of a certain size or name."""
import base64, hashlib, os, pathlib, uuid

UPD = "http://schemas.microsoft.com/msus/2002/12/Update"
HANDLERS = "http://schemas.microsoft.com/msus/2002/12/UpdateHandlers"
SPACE = uuid.UUID("6d2b3f60-0f0a-4b57-9d0e-0d7c1a6b9f11")
PRODUCT, CLASSIFICATION = uuid.uuid5(SPACE, "product"), "0fa1201d-4330-4fa8-8ae9-b877473b6441"


def category(identity, kind, title, parent=None):
    clause = f'<upd:Relationships><upd:Prerequisites><upd:AtLeastOne IsCategory="true"><upd:UpdateIdentity UpdateID="{parent}" /></upd:AtLeastOne></upd:Prerequisites></upd:Relationships>' if parent else ""
    return f'''<upd:Update xmlns:upd="{UPD}" xmlns:lar="http://schemas.microsoft.com/msus/2002/12/LogicalApplicabilityRules" xmlns:cat="{HANDLERS}/Category"><upd:UpdateIdentity UpdateID="{identity}" RevisionNumber="100" /><upd:Properties DefaultPropertiesLanguage="en" UpdateType="Category" Handler="{HANDLERS}/Category" PublicationState="Published" CreationDate="2020-01-01T00:00:00.000Z" PublisherID="{uuid.uuid5(SPACE, 'publisher')}" /><upd:LocalizedPropertiesCollection><upd:LocalizedProperties><upd:Language>en</upd:Language><upd:Title>{title}</upd:Title></upd:LocalizedProperties></upd:LocalizedPropertiesCollection>{clause}<upd:ApplicabilityRules><upd:IsInstalled><lar:True /></upd:IsInstalled></upd:ApplicabilityRules><upd:HandlerSpecificData xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="cat:Category"><cat:CategoryInformation CategoryType="{kind}" /></upd:HandlerSpecificData></upd:Update>'''


def software(identity, title, files, kb):
    rows = "".join(f'<upd:File Digest="{f["sha1"]}" DigestAlgorithm="SHA1" FileName="{f["name"]}" Size="{f["size"]}" Modified="2026-01-01T00:00:00Z"><upd:AdditionalDigest Algorithm="SHA256">{f["sha256"]}</upd:AdditionalDigest></upd:File>' for f in files)
    return f'''<upd:Update xmlns:upd="{UPD}" xmlns:lar="http://schemas.microsoft.com/msus/2002/12/LogicalApplicabilityRules" xmlns:cmd="{HANDLERS}/CommandLineInstallation"><upd:UpdateIdentity UpdateID="{identity}" RevisionNumber="1" /><upd:Properties DefaultPropertiesLanguage="en" UpdateType="Software" ExplicitlyDeployable="true" Handler="{HANDLERS}/CommandLineInstallation" MaxDownloadSize="{sum(f["size"] for f in files)}" MinDownloadSize="0" PublicationState="Published" CreationDate="2026-01-01T00:00:00.000Z" PublisherID="{uuid.uuid5(SPACE, 'publisher')}"><upd:KBArticleID>{kb}</upd:KBArticleID></upd:Properties><upd:LocalizedPropertiesCollection><upd:LocalizedProperties><upd:Language>en</upd:Language><upd:Title>{title}</upd:Title></upd:LocalizedProperties></upd:LocalizedPropertiesCollection><upd:Relationships><upd:Prerequisites><upd:AtLeastOne IsCategory="true"><upd:UpdateIdentity UpdateID="{CLASSIFICATION}" /></upd:AtLeastOne><upd:AtLeastOne IsCategory="true"><upd:UpdateIdentity UpdateID="{PRODUCT}" /></upd:AtLeastOne></upd:Prerequisites></upd:Relationships><upd:ApplicabilityRules><upd:IsInstalled><lar:False /></upd:IsInstalled><upd:IsInstallable><lar:True /></upd:IsInstallable></upd:ApplicabilityRules><upd:Files>{rows}</upd:Files><upd:HandlerSpecificData xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="cmd:CommandLineInstallation"><cmd:InstallCommand Program="{files[0]["name"]}" /></upd:HandlerSpecificData></upd:Update>'''


def payload(folder, size, seed):
    """Writes a payload of pseudo-random bytes as XX/<SHA-1>.ext and returns its declaration."""
    h1, h256 = hashlib.sha1(), hashlib.sha256()
    temporary = pathlib.Path(folder) / "payload.tmp"
    with open(temporary, "wb") as out:
        left, i = size, 0
        while left:
            block = hashlib.shake_128(f"{seed}/{i}".encode()).digest(min(left, 1 << 20))
            h1.update(block), h256.update(block), out.write(block)
            left, i = left - len(block), i + 1
    return dict(path=temporary, size=size, hex=h1.hexdigest().upper(), sha1=base64.b64encode(h1.digest()).decode(), sha256=base64.b64encode(h256.digest()).decode())


def update(n):
    """The GUID of the update of a site's file."""
    return str(uuid.uuid5(SPACE, f"update {n}"))


def site(folder, sizes, twins=False):
    """A folder with docs/ and content/ holding one update per size; with `twins` a second update names the same
    payload under another name."""
    folder = pathlib.Path(folder)
    docs, content = folder / "docs", folder / "content"
    docs.mkdir(parents=True), content.mkdir()
    (docs / "company.xml").write_text(category(uuid.uuid5(SPACE, "company"), "Company", "Contoso"))
    (docs / "product.xml").write_text(category(PRODUCT, "Product", "Contoso Suite", uuid.uuid5(SPACE, "company")))
    (docs / "classification.xml").write_text(category(CLASSIFICATION, "UpdateClassification", "Security Updates"))
    files = []
    for n, size in enumerate(sizes):
        f = payload(content, size, f"payload {n}")
        place = content / f["hex"][-2:]
        place.mkdir(exist_ok=True)
        f["name"] = f"package-{n}.cab"
        os.replace(f["path"], place / (f["hex"] + ".cab"))
        f["path"] = place / (f["hex"] + ".cab")
        (docs / f"update-{n}.xml").write_text(software(uuid.uuid5(SPACE, f"update {n}"), f"Package {n} for Contoso Suite", [f], 5000000 + n))
        if twins:
            (docs / f"twin-{n}.xml").write_text(software(uuid.uuid5(SPACE, f"twin {n}"), f"Twin {n} for Contoso Suite", [dict(f, name=f"other-name-{n}.exe")], 5100000 + n))
        files.append(f)
    return files
