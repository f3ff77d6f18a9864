"""The plugin contract (`interfaces`), what loads plugins (`manager`), and the built-in ones."""
