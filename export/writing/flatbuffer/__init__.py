"""The bytes of a TFLite file: tables and vectors of FlatBuffers, and the tables of the TFLite schema."""
