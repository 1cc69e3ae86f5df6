"""What the report is made of: evidence from logs and buckets, prices, pictures, the page."""
