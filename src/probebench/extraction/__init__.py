"""Images through a backbone: from a dataset's splits to stored features."""
