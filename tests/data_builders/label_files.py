"""Files as labelling programs export them, small, for the tests and the fuzzer of their readers.

Written after what the programs' own sources and documentation say they write.
"""

ELAN_HEADER = (
    "Tier\tBegin Time - hh:mm:ss.ms\tBegin Time - ss.msec\tEnd Time - hh:mm:ss.ms\t"
    "End Time - ss.msec\tDuration - hh:mm:ss.ms\tDuration - ss.msec\tAnnotation\n"
)


def elan_row(tier, start, end, value, participant=None):
    """A line with begin, end and duration as clock times and in seconds."""

    def forms(seconds):
        whole = int(seconds)
        clock = f"{whole // 3600:02}:{whole // 60 % 60:02}:{seconds % 60:06.3f}"
        return f"{clock}\t{seconds:.3f}"

    who = "" if participant is None else f"\t{participant}"
    return f"{tier}{who}\t{forms(start)}\t{forms(end)}\t{forms(end - start)}\t{value}\n"


def _boris(header, rows, observation):
    return header + "".join(f"{observation},{row}\n" for row in rows)


BORIS_AGGREGATED = _boris(
    "Observation id,Observation date,Description,Media file,Total length,FPS,Subject,Behavior,"
    "Behavioral category,Modifiers,Behavior type,Start (s),Stop (s),Duration (s),Comment start,"
    "Comment stop\n",
    [
        "No focal subject,prep,phase,,STATE,0.0,0.8,0.8,,",
        "No focal subject,clip,phase,,STATE,0.8,1.6,0.8,,",
        "No focal subject,bleed,,,POINT,1.0,1.0,NA,,",
    ],
    "o1,2024-01-01 10:00:00,,/home/me/op1.mp4,2.0,25",
)
BORIS_TABULAR = _boris(
    "Observation id,Observation date,Description,Observation duration,Observation type,Source,"
    "Time offset (s),Media duration (s),FPS,Subject,Behavior,Behavioral category,Behavior type,"
    "Time,Media file name,Image index,Image file path,Comment\n",
    [
        f"{behavior},phase,{kind},{time},/v/op1.mp4,,,"
        for behavior, kind, time in (
            *(("prep", "START", 0), ("prep", "STOP", 0.8)),
            *(("clip", "START", 0.8), ("clip", "STOP", 1.6)),
        )
    ],
    "o1,2024-01-01,,2,Media file(s),player #1:/home/me/op1.mp4,0,2,25,",
)
BORIS_OLD = (
    "Observation id\to1\n\nMedia file(s)\n\nPlayer #1\t/home/me/op1.mp4\n\n"
    "Observation date\t2018-01-01\n\nTime offset (s)\t0\n\n"
    "Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tBehavioral category\t"
    "Comment\tStatus\n"
    "0.0\t/home/me/op1.mp4\t2.0\t25\t\tprep\tphase\t\tSTART\n"
    "0.8\t/home/me/op1.mp4\t2.0\t25\t\tprep\tphase\t\tSTOP\n"
    "0.8\t/home/me/op1.mp4\t2.0\t25\t\tclip\tphase\t\tSTART\n"
    "1.6\t/home/me/op1.mp4\t2.0\t25\t\tclip\tphase\t\tSTOP\n"
)
ELAN = elan_row("phase", 0, 0.8, "prep", "") + elan_row("phase", 0.8, 1.6, "clip", "")
ELAN_NAMED = ELAN_HEADER + elan_row("phase", 0, 0.8, "prep") + elan_row("phase", 0.8, 1.6, "clip")
LABEL_STUDIO = """[{"id": 1, "file_upload": "0a1b2c3d-op1.mp4",
 "data": {"video": "/data/upload/1/0a1b2c3d-op1.mp4"},
 "annotations": [{"id": 5, "was_cancelled": false, "result": [
  {"from_name": "phase", "to_name": "video", "type": "timelinelabels",
   "value": {"ranges": [{"start": 1, "end": 20}], "timelinelabels": ["prep"]}},
  {"from_name": "phase", "to_name": "video", "type": "timelinelabels",
   "value": {"ranges": [{"start": 21, "end": 40}], "timelinelabels": ["clip"]}},
  {"from_name": "skill", "to_name": "video", "type": "choices", "value": {"choices": ["expert"]}},
  {"from_name": "box", "to_name": "video", "type": "videorectangle", "value": {
   "framesCount": 50, "duration": 2.0, "labels": ["hook"], "sequence": [
    {"frame": 6, "enabled": true, "x": 1, "y": 1, "width": 5, "height": 5, "time": 0.24},
    {"frame": 15, "enabled": false, "x": 1, "y": 1, "width": 5, "height": 5, "time": 0.6},
    {"frame": 41, "enabled": true, "x": 1, "y": 1, "width": 5, "height": 5, "time": 1.64}]}}
 ]}]}]
"""
LABEL_STUDIO_MIN = """[{"id": 1, "video": "/data/local-files/?d=videos/op1.mp4", "skill":
 {"choices": ["expert"]}, "phase": [
 {"ranges": [{"start": 1, "end": 20}], "timelinelabels": ["prep"]},
 {"ranges": [{"start": 21, "end": 40}], "timelinelabels": ["clip"]}], "annotator": 1}]
"""
_BOX = '<box frame="{}" outside="{}" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="5" ybr="5">'
CVAT = (
    '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    "<meta><task><id>1</id><name>t</name><size>50</size><mode>interpolation</mode><start_frame>0</start_frame>"
    "<stop_frame>49</stop_frame><frame_filter></frame_filter><source>op1.mp4</source>"
    '</task></meta><track id="0" label="hook" source="manual">'
    + "".join(
        f'{_BOX.format(k, 0)}<attribute name="phase">'
        f"{'prep' if k < 20 else 'clip'}</attribute></box>"
        for k in range(40)
    )
    + f"{_BOX.format(40, 1)}</box></track></annotations>\n"
)
CVAT_IMAGES = (
    "<annotations><version>1.1</version><meta><task><source>op1.mp4</source></task></meta>"
    + "".join(
        f'<image id="{k}" name="frame_{k:06}" width="128" height="96">'
        f'<tag label="{"prep" if k < 20 else "clip"}" source="manual"/></image>'
        for k in range(40)
    )
    + "</annotations>\n"
)
ANVIL = (
    '<?xml version="1.0" encoding="UTF-16"?>\n<annotation><head><specification src="spec.xml"/>'
    '<video src="D:\\films\\op1.mp4" master="true"/></head><body>'
    '<track name="phase" type="primary">'
    '<el index="0" start="0" end="0.8"><attribute name="token">prep</attribute></el>'
    '<el index="1" start="0.8" end="1.6"><attribute name="token">clip</attribute></el></track>'
    '<track name="note" type="singleton"><el index="0" ref="0"><attribute name="n">x</attribute>'
    "</el></track></body></annotation>\n"
)

# name -> (file name, bytes); all label op1.mp4 with prep to 0.8 s (frame 20) and clip to 1.6 s (40)
EXPORTS = {
    "boris aggregated": ("a.csv", BORIS_AGGREGATED.encode()),
    "boris tabular": ("a.csv", BORIS_TABULAR.encode()),
    "boris tabular, tabs": ("a.tsv", BORIS_TABULAR.replace(",", "\t").encode()),
    "boris of old": ("a.tsv", BORIS_OLD.encode()),
    "elan": ("op1.txt", ELAN.encode()),
    "elan, UTF-16": ("op1.txt", ELAN.encode("utf-16")),
    "elan with names": ("op1.txt", ELAN_NAMED.encode()),
    "label studio": ("a.json", LABEL_STUDIO.encode()),
    "label studio, JSON-MIN": ("a.json", LABEL_STUDIO_MIN.encode()),
    "cvat for video": ("annotations.xml", CVAT.encode()),
    "cvat for images": ("annotations.xml", CVAT_IMAGES.encode()),
    "anvil": ("a.anvil", ANVIL.encode("utf-16")),
}
