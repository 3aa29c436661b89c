//! FFmpeg behind one door.
