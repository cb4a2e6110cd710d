//! What downstream servers ask is read, in every form they write it.
