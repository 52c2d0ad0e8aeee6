"""One click: the Hugging Face models of an OpenCompass config become jobs on another engine; the config stays."""
