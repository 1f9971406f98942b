// A time as the axis shows it: 12.5 s, or in long clips 2:05 and 1:02:05.
function clock(time, long) {
  if (!long) return `${time.toFixed(1)} s`;
  const whole = Math.round(time);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, place) => (place ? String(part).padStart(2, '0') : part)).join(':');
}

// A clip over time: hovering says what is there, clicking and keys play from there. Its pictures come from the server.
class EmotionTimeline extends HTMLElement {
  connectedCallback() {
    if (this.audio) return;
    this.facts = JSON.parse(this.dataset.facts);
    this.audio = this.querySelector('audio');
    this.button = this.querySelector('.ev-play');
    this.plot = this.querySelector('.ev-plot');
    this.over = this.querySelector('.ev-over');
    this.cursor = this.querySelector('.ev-cursor');
    this.hover = this.querySelector('.ev-hover');
    this.values = [...this.querySelectorAll('.ev-lane:not(.ev-axis):not(.ev-wave):not(.ev-best) > .ev-value')];
    this.whole = this.values.map(value => value.textContent);
    this.at = 0;
    this.button.addEventListener('click', () => this.toggle());
    this.plot.addEventListener('click', event => this.play(this.time(event)));
    this.plot.addEventListener('pointermove', event => this.point(this.time(event)));
    this.plot.addEventListener('pointerleave', () => this.point(null));
    this.plot.addEventListener('keydown', event => this.key(event));
    for (const name of ['play', 'pause', 'ended']) this.audio.addEventListener(name, () => this.state());
    this.audio.addEventListener('timeupdate', () => this.audio.paused || this.move(this.audio.currentTime));
    this.audio.addEventListener('error', () => this.say('This clip can no longer be played: open it again.'));
    new ResizeObserver(() => this.fit()).observe(this.plot);
    this.move(0);
  }

  disconnectedCallback() {
    if (this.audio) this.audio.pause();
  }

  // Labels of stretches are shown where there is room for them.
  fit() {
    for (const stretch of this.querySelectorAll('.ev-best b')) {
      const label = stretch.firstElementChild;
      label.style.visibility = label.offsetWidth > stretch.clientWidth ? 'hidden' : '';
    }
  }

  time(event) {
    const box = this.over.getBoundingClientRect();
    return this.bounded((event.clientX - box.left) / box.width * this.facts.seconds);
  }

  clock(time) {
    return clock(time, this.facts.seconds >= 120);
  }

  bounded(time) {
    return Math.min(Math.max(time, 0), this.facts.seconds);
  }

  toggle() {
    if (this.audio.paused) this.play(this.at >= this.facts.seconds - 0.01 ? 0 : this.at);
    else this.audio.pause();
  }

  play(time) {
    this.move(time);
    this.audio.currentTime = time;
    this.audio.play().catch(() => this.say('The browser does not play this clip.'));
  }

  state() {
    const playing = !this.audio.paused && !this.audio.ended;
    this.button.textContent = playing ? 'Pause' : 'Play';
    if (playing) requestAnimationFrame(() => this.follow());
  }

  follow() {
    if (this.audio.paused || !this.isConnected) return;
    this.move(this.audio.currentTime);
    requestAnimationFrame(() => this.follow());
  }

  step() {
    const edges = this.facts.panels.length ? this.facts.panels[0].edges : [0, this.facts.seconds / 20];
    return edges[1] - edges[0];
  }

  key(event) {
    const steps = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5};
    let time = null;
    if (event.key in steps) time = this.bounded(this.at + steps[event.key] * this.step());
    else if (event.key === 'Home') time = 0;
    else if (event.key === 'End') time = this.facts.seconds;
    else if (event.key === ' ' || event.key === 'Enter') this.toggle();
    else return;
    event.preventDefault();
    if (time !== null) {
      this.audio.currentTime = time;
      this.move(time);
    }
  }

  // Puts the cursor somewhere, and says what is there.
  move(time) {
    this.at = time;
    this.cursor.style.left = `${100 * time / this.facts.seconds}%`;
    this.querySelector('.ev-time').textContent = `${this.clock(time)} / ${this.clock(this.facts.seconds)}`;
    this.plot.setAttribute('aria-valuenow', time.toFixed(2));
    this.plot.setAttribute('aria-valuetext', this.text(time));
    if (this.hover.hidden) this.show(time > 0 ? time : null);
  }

  point(time) {
    this.hover.hidden = time === null;
    if (time !== null) this.hover.style.left = `${100 * time / this.facts.seconds}%`;
    this.show(time !== null ? time : this.at > 0 ? this.at : null);
  }

  place(panel, time) {
    let place = panel.edges.findIndex(edge => edge - panel.edges[0] > time) - 1;
    if (place < 0) place = panel.rows.length - 1;
    return Math.min(place, panel.rows.length - 1);
  }

  // The scores of a moment, or those of the whole clip.
  show(time) {
    if (time === null) this.values.forEach((value, number) => { value.textContent = this.whole[number]; });
    else this.values.forEach((value, number) => { value.textContent = this.scores(time)[number]; });
    this.say(time === null ? '' : this.text(time));
  }

  scores(time) {
    return this.facts.panels.flatMap(panel => panel.rows[this.place(panel, time)]);
  }

  text(time) {
    const said = this.facts.panels.filter(panel => panel.best.length).map(panel => {
      const place = this.place(panel, time);
      return `${panel.labels[panel.best[place]]} ${panel.rows[place][panel.best[place]]}`;
    });
    return `${this.clock(time)}${said.length ? `: ${said.join(', ')}` : ''}`;
  }

  say(text) {
    this.querySelector('.ev-readout').textContent = text;
  }
}
customElements.define('emotion-timeline', EmotionTimeline);

// A microphone that cannot be had is said where it was asked for.
function sayOfMicrophone(text) {
  const place = document.getElementById('ev-microphone');
  let said = document.getElementById('ev-refused');
  if (!text || !place) {
    if (said) said.remove();
    return;
  }
  if (!said) {
    said = document.createElement('div');
    said.id = 'ev-refused';
    said.className = 'ev-alert';
    said.setAttribute('role', 'alert');
    place.parentElement.after(said);
  }
  said.textContent = text;
}

const REFUSALS = {
  NotAllowedError: 'The microphone was refused: allow it for this page in the browser, and record again; files work without.',
  NotFoundError: 'There is no microphone: connect one, and record again; files work without.',
  NotReadableError: 'The microphone cannot be read: another program may use it; files work without.',
};

if (navigator.mediaDevices) {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async wanted => {
    try {
      const stream = await ask(wanted);
      sayOfMicrophone('');
      return stream;
    } catch (error) {
      sayOfMicrophone(REFUSALS[error.name] || `The microphone cannot be used: ${error.message}.`);
      throw error;
    }
  };
} else {
  document.addEventListener('click', event => {
    if (event.target.closest('#ev-microphone button')) {
      sayOfMicrophone('Browsers give a microphone only to pages of this machine, or over https; files work without.');
    }
  }, true);
}
