"""Containers in every layout that FFmpeg's and GStreamer's muxers give them."""

# Name -> extension and FFmpeg's options behind `-c copy`.
FFMPEG = {
    "mp4_last": ("mp4", "-f mp4"),
    "mp4_first": ("mp4", "-movflags +faststart -f mp4"),
    "mp4_negative_cts": ("mp4", "-movflags +negative_cts_offsets -f mp4"),
    "mp4_no_edits": ("mp4", "-use_editlist 0 -f mp4"),
    "mp4_timescale": ("mp4", "-video_track_timescale 90000 -f mp4"),
    "mp4_frag": ("mp4", "-movflags frag_keyframe+empty_moov+default_base_moof -f mp4"),
    "mp4_frag_moov": ("mp4", "-movflags frag_keyframe -f mp4"),
    "mp4_frag_every_frame": ("mp4", "-movflags frag_every_frame+empty_moov -f mp4"),
    "mp4_frag_per_track": ("mp4", "-movflags frag_keyframe+empty_moov+separate_moof -f mp4"),
    "mp4_frag_open": ("mp4", "-movflags frag_keyframe+empty_moov+skip_trailer -f mp4"),
    "mp4_delay_moov": ("mp4", "-movflags frag_keyframe+delay_moov -f mp4"),
    "mp4_cmaf": ("mp4", "-movflags cmaf+frag_keyframe+empty_moov -f mp4"),
    "mp4_dash": ("mp4", "-movflags dash+global_sidx+frag_keyframe+empty_moov -f mp4"),
    "mp4_hybrid": ("mp4", "-movflags hybrid_fragmented -f mp4"),
    "m4a": ("m4a", "-f ipod"),
    "m4v": ("m4v", "-f mp4"),
    "ismv": ("mp4", "-f ismv"),
    "mov_last": ("mov", "-f mov"),
    "mov_first": ("mov", "-movflags +faststart -f mov"),
    "mov_frag": ("mov", "-movflags frag_keyframe+empty_moov -f mov"),
    "3gp": ("3gp", "-f 3gp"),
    "3g2": ("3g2", "-f 3g2"),
    "f4v": ("f4v", "-f f4v"),
    "mkv": ("mkv", "-f matroska"),
    "mkv_live": ("mkv", "-live 1 -f matroska"),
    "mkv_short_clusters": ("mkv", "-cluster_time_limit 200 -f matroska"),
    "mkv_cues_first": ("mkv", "-cues_to_front 1 -f matroska"),
    "mka": ("mka", "-f matroska"),
    "webm": ("webm", "-f webm"),
    "webm_live": ("webm", "-live 1 -f webm"),
    "webm_short_clusters": ("webm", "-cluster_time_limit 300 -f webm"),
    "flv": ("flv", "-f flv"),
    "flv_open": ("flv", "-flvflags no_duration_filesize+no_sequence_end -f flv"),
    "flv_index": ("flv", "-flvflags add_keyframe_index -f flv"),
    "ts": ("ts", "-f mpegts"),
    "ts_cbr": ("ts", "-muxrate 1500k -f mpegts"),
    "ts_repeated": ("ts", "-mpegts_flags resend_headers+pat_pmt_at_frames -pat_period 0.1 -f mpegts"),
    "ts_latm": ("ts", "-mpegts_flags latm -f mpegts"),
    "ts_long_pes": ("ts", "-pes_payload_size 8000 -omit_video_pes_length 0 -f mpegts"),
    "m2ts": ("m2ts", "-mpegts_m2ts_mode 1 -f mpegts"),
    "avi": ("avi", "-f avi"),
    "ogg": ("ogg", "-f ogg"),
    "ogv": ("ogv", "-f ogv"),
    "opus": ("opus", "-f opus"),
    "ivf": ("ivf", "-f ivf"),
    "wav": ("wav", "-f wav"),
    "wav_rf64": ("wav", "-rf64 always -f wav"),
    "mp3": ("mp3", "-f mp3"),
    "mp3_no_xing": ("mp3", "-write_xing 0 -id3v2_version 0 -f mp3"),
    "aac": ("aac", "-f adts"),
}

# Name -> extension and GStreamer's muxer with its properties.
GSTREAMER = {
    "gst_mp4": ("mp4", "mp4mux"),
    "gst_mp4_first": ("mp4", "mp4mux faststart=true"),
    "gst_mp4_frag": ("mp4", "mp4mux fragment-duration=500"),
    "gst_mp4_frag_live": ("mp4", "mp4mux fragment-duration=500 streamable=true"),
    "gst_mp4_finalise": ("mp4", "mp4mux fragment-duration=500 fragment-mode=first-moov-then-finalise"),
    "gst_mov": ("mov", "qtmux"),
    "gst_mov_robust": ("mov", "qtmux reserved-moov-update-period=500000000 reserved-max-duration=20000000000"),
    "gst_mkv": ("mkv", "matroskamux"),
    "gst_mkv_live": ("mkv", "matroskamux streamable=true"),
    "gst_webm": ("webm", "webmmux"),
    "gst_webm_live": ("webm", "webmmux streamable=true"),
    "gst_ts": ("ts", "mpegtsmux"),
    "gst_m2ts": ("m2ts", "mpegtsmux m2ts-mode=true"),
    "gst_flv": ("flv", "flvmux"),
    "gst_flv_live": ("flv", "flvmux streamable=true"),
    "gst_avi": ("avi", "avimux"),
    "gst_ogg": ("ogg", "oggmux"),
}

# What stands between GStreamer's demuxer and muxer, by codec.
PARSERS = {"h264": "h264parse", "hevc": "h265parse", "av1": "av1parse", "vp9": "vp9parse", "aac": "aacparse", "mp3": "mpegaudioparse", "opus": "opusparse",
           "ac3": "ac3parse", "flac": "flacparse", "mpeg2": "mpegvideoparse", "mpeg4": "mpeg4videoparse"}
DEMUXERS = {"mp4": "qtdemux", "mov": "qtdemux", "mkv": "matroskademux", "ogg": "oggdemux", "flv": "flvdemux", "ts": "tsdemux"}


def parser(encode):
    """The element for an encode by its name: `h264_b` is H.264."""
    return PARSERS.get(encode.split("_")[0], "identity")
