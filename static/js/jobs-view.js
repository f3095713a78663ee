// Jobs: the list of them, one of them, or the form for another, as the address has it.

import { fill, h } from './dom.js';
import { JobForm } from './job-form.js';
import { JobList } from './job-list.js';
import { JobPage } from './job-page.js';

export class JobsView {
  /**
   * @param {{onModels: (models: import('./types.js').ModelCard[]) => void}} on `onModels` is told when models or roles
   *   have changed
   */
  constructor(on) {
    this.list = new JobList();
    this.page = new JobPage(on);
    this.form = new JobForm();
    this.root = h('section', { class: 'jobs-view' });
  }

  /** @param {import('./router.js').Route} route */
  show(route) {
    const part = route.job === 'new' ? this.form : route.job ? this.page : this.list;
    for (const other of [this.list, this.page, this.form]) if (other !== part) other.leave();
    if (this.root.firstChild !== part.root) fill(this.root, part.root);
    part.show(route);
  }

  leave() {
    for (const part of [this.list, this.page, this.form]) part.leave();
  }
}
