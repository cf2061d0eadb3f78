//! What the token store promises, beside its code.
