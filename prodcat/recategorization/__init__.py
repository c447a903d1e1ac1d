"""From a branch of the tree and its products' vectors to reviewed changes of the tree. Reads tables and arrays; knows no encoder and no Ray."""
