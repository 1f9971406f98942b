"""What is said in corpora whose speakers all say the same few sentences, by the codes in the names of clips."""

from __future__ import annotations

EMODB = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
CREMA_D = {
    "ieo": "It's eleven o'clock.",
    "tie": "That is exactly what happened.",
    "iom": "I'm on my way to the meeting.",
    "iww": "I wonder what this is about.",
    "tai": "The airplane is almost full.",
    "mti": "Maybe tomorrow it will be cold.",
    "iwl": "I would like a new alarm clock.",
    "ith": "I think I have a doctor's appointment.",
    "dfa": "Don't forget a jacket.",
    "its": "I think I've seen this before.",
    "tsi": "The surface is slick.",
    "wsi": "We'll stop in a couple of minutes.",
}
RAVDESS_SPEECH = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
