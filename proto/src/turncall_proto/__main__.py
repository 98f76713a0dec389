"""`python -m turncall_proto` writes the published schemas into ``schema/``."""

from turncall_proto.publish import SCHEMA_FOLDER, documents


def main() -> None:
    """Writes each document; running it twice changes nothing."""
    SCHEMA_FOLDER.mkdir(exist_ok=True)
    for name, content in documents().items():
        (SCHEMA_FOLDER / name).write_text(content)


if __name__ == "__main__":
    main()
