"""What several kinds of tests stand on: labs that are always removed, and `ss` as an independent witness."""
