//! What the three lexers share: a cursor with byte positions, and the literals every query language has.
