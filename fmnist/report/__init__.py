"""What results look like: words, tables, figures and the page; values in, text and pictures out."""
