"""What agents may know: bases of documents, read and cut by the media plane's pool ``text``, and searched here."""
